import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from poisonsieve.data.files import format_of, json_record, read_records
from poisonsieve.errors import DataError


def records(tmp_path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    return list(read_records(path, format_of(path)))


def texts(found):
    return [(record.line, record.text, record.label) for record in found]


def test_jsonl(tmp_path):
    content = b'\xef\xbb\xbf{"sentence": "a", "label": 1}\n\n{"text": "b", "label": "x"}\r\n{"text": ""}'
    assert texts(records(tmp_path, "a.jsonl", content)) == [(1, "a", 1), (3, "b", "x"), (4, "", None)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"nonsense", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"label": 1}', "text is missing"),
        (b'{"text": null}', "text is missing"),
        (b'{"text": "a", "sentence": "b"}', "both `text` and `sentence` are present"),
        (b'{"text": "a", "text": "b"}', "stands twice"),
        (b'{"text": 3}', "not a string but int"),
        (b'{"text": "\\ud800"}', "surrogate"),
        (b'{"text": "\xff"}', "not UTF-8 (byte 0xff at position 11)"),
        (b'{"text": ' + b"[" * 100_000, "not JSON"),
        (b'{"text": ' + b"1" * 5_000 + b"}", "not JSON"),
    ],
)
def test_bad_jsonl_row_is_told_and_the_rest_read(tmp_path, line, problem):
    found = records(tmp_path, "a.jsonl", b'{"text": "a"}\n' + line + b'\n{"text": "b"}\n')
    assert [record.text for record in found] == ["a", None, "b"]
    assert found[1].line == 2
    assert problem in found[1].error


def test_csv_with_quotes_and_line_breaks(tmp_path):
    content = '\ufeffid,Text ,text,label\r\n1,x,"two\nlines, ""quoted""",0\r\n\r\n2,x,héllo,1\r\n'.encode()
    assert texts(records(tmp_path, "a.csv", content)) == [(2, 'two\nlines, "quoted"', "0"), (5, "héllo", "1")]


def test_bad_csv_rows(tmp_path):
    content = b'text,label\na,0\nb\nc,d,1\n\xff,1\n"e"f,1\ng,1\n"open,1\nh,1\n'
    found = records(tmp_path, "a.csv", content)
    assert [record.text for record in found] == ["a", None, None, None, None, "g", None, "h"]
    problems = {record.line: record.error for record in found if record.error}
    assert "1 fields, but the header has 2" in problems[3]
    assert "3 fields" in problems[4]
    assert problems[5] == "not UTF-8; convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8"
    assert "not CSV" in problems[6]
    assert "the quote opened on line 8 is not closed" in problems[8]


def test_csv_field_longer_than_the_parsers_limit(tmp_path):
    import csv

    before = csv.field_size_limit()
    (record,) = records(tmp_path, "a.csv", b"text\n" + b"x" * 1_000_000 + b"\n")
    assert len(record.text) == 1_000_000
    assert csv.field_size_limit() == before


def test_tsv_quotes_mean_nothing(tmp_path):
    content = b'sentence\tlabel\n"stray quote\t1\nit\'s "fine"\t0\n\nshort\n\xff\t1\n'
    found = records(tmp_path, "a.tsv", content)
    assert texts(found)[:2] == [(2, '"stray quote', "1"), (3, 'it\'s "fine"', "0")]
    assert [record.line for record in found[2:]] == [5, 6]
    assert all(record.error for record in found[2:])


def write_parquet(path, columns):
    parquet.write_table(pa.table(columns), path)
    return path


def test_parquet(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"text": ["a", None, "c"], "label": [0, 1, 1], "other": [1, 2, 3]})
    found = list(read_records(path, "parquet"))
    assert texts(found) == [(1, "a", 0), (2, None, None), (3, "c", 1)]


def test_parquet_string_that_is_not_utf8(tmp_path):
    column = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff"], pa.binary()).buffers())
    found = list(read_records(write_parquet(tmp_path / "a.parquet", {"text": column}), "parquet"))
    assert found[0].text == "ok"
    assert "not UTF-8" in found[1].error


def test_parquet_that_is_none(tmp_path):
    with pytest.raises(DataError, match="as Parquet"):
        records(tmp_path, "a.parquet", b"PAR1 nonsense")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_header_without_text(tmp_path, name):
    with pytest.raises(DataError, match=r"no column `text` or `sentence`; columns: review"):
        records(tmp_path, name, b"review\na\n")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_header_that_is_not_utf8(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name}:1: the header row is not UTF-8"):
        records(tmp_path, name, b"\xff\na\n")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_empty_file_has_no_rows(tmp_path, name):
    assert records(tmp_path, name, b"") == []


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_absent_file(tmp_path, name):
    with pytest.raises(DataError, match="cannot read"):
        list(read_records(tmp_path / name, format_of(tmp_path / name)))


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9))
def test_any_text_survives_jsonl(text, label):
    line = json.dumps({"text": text, "label": label}).encode() + b"\n"
    record = json_record(line, 1)
    assert (record.text, record.label) == (text, label)
