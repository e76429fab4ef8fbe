"""Files that are not what their name says are refused in one line; files that are are read, whatever one row holds."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import sys
import tarfile
import threading
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, orc, parquet

from poisonsieve.data import contents, load_dataset
from poisonsieve.data.inputs import read_inputs
from poisonsieve.errors import DataError

LINES = b"".join(json.dumps({"text": f"a film {n}", "label": n % 2}).encode() + b"\n" for n in range(3000))
RUSSIAN = "хороший фильм\nплохой фильм, очень\n" * 20  # noqa: RUF001
CHINESE = "这部电影很好\n“不错”\n" * 20


def texts(path):
    return [row.text for row in read_inputs(str(path))]


def from_stdin(content: bytes, buffered: bool = True):
    before = sys.stdin
    sys.stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(content)) if buffered else io.BytesIO(content))
    try:
        return [row.text for row in read_inputs("-")]
    finally:
        sys.stdin = before


def refusal(path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        texts(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.ndjson.gz", "a.json.gz", "A.JSONL.GZ"])
def test_packed_jsonl_is_opened(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(LINES))
    assert len(texts(tmp_path / name)) == 3000
    assert load_dataset(str(tmp_path / name))["text"][2999] == "a film 2999"


def test_packed_tables_and_plain_lines_are_opened(tmp_path):
    frame = pd.DataFrame({"text": ["one\ntwo", "three"], "label": [0, 1]})
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"text\tlabel\na\t0\nb\t1\n"))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert (
        texts(tmp_path / "a.csv.gz") == load_dataset(str(tmp_path / "a.csv.gz"))["text"][:] == ["one\ntwo", "three"]
    )
    assert load_dataset(str(tmp_path / "a.tsv.gz"))["label"][:] == [0, 1]
    assert texts(tmp_path / "a.txt.gz") == ["one", "two"]


def test_packed_files_are_read_as_a_stream(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(40):
            stream.write(LINES * 10)
    rows = read_inputs(str(path))
    assert next(rows).text == "a film 0"


def test_damaged_archives(tmp_path):
    whole = gzip.compress(LINES)
    assert "damaged or cut short" in refusal(tmp_path / "a.jsonl.gz", whole[: len(whole) // 2])
    assert "damaged or cut short" in refusal(tmp_path / "b.jsonl.gz", whole[:3])
    middle = len(whole) // 2
    assert "damaged or cut short" in refusal(tmp_path / "c.csv.gz", whole[:middle] + bytes(20) + whole[middle + 20 :])
    assert "damaged or cut short" in refusal(tmp_path / "d.txt.gz", whole + b"trailing")
    assert "is not gzip" in refusal(tmp_path / "e.jsonl.gz", LINES)
    assert "is not gzip, or empty" in refusal(tmp_path / "f.jsonl.gz", b"")
    with pytest.raises(DataError, match="damaged or cut short"):
        load_dataset(str(tmp_path / "a.jsonl.gz"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.txt", "a.json", "part-00000"])
def test_packed_under_another_name(tmp_path, name):
    assert "rename it to end in .jsonl.gz" in refusal(tmp_path / name, gzip.compress(LINES))
    assert "xz -dc" in refusal(tmp_path / name, lzma.compress(LINES))
    assert "bzip2 -dc" in refusal(tmp_path / name, bz2.compress(LINES))
    assert "zstd -dc" in refusal(tmp_path / name, b"\x28\xb5\x2f\xfd" + bytes(range(256)))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("xl/worksheet.xml", "text")
    assert "zip archive" in refusal(tmp_path / name, archive.getvalue())
    pd.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "table.parquet")
    assert "name it .parquet" in refusal(tmp_path / name, (tmp_path / "table.parquet").read_bytes())


def written(kind):
    """What tools write, as bytes."""
    buffer, frame = io.BytesIO(), pd.DataFrame({"text": ["a"] * 50})
    table = pa.table(frame)
    if kind == "arrow":
        with pa.ipc.new_file(buffer, table.schema) as stream:
            stream.write(table)
    elif kind == "arrow stream":
        with pa.ipc.new_stream(buffer, table.schema) as stream:
            stream.write(table)
    elif kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as stream:
            stream.addfile(tarfile.TarInfo("a.jsonl"), io.BytesIO())
    elif kind == "lzma":
        return lzma.compress(LINES, lzma.FORMAT_ALONE)
    elif kind == "zip":
        zipfile.ZipFile(buffer, "w").close()
    elif kind == "npy":
        np.save(buffer, np.arange(9))
    elif kind == "orc":
        orc.write_table(table, buffer)
    elif kind.startswith("feather"):
        feather.write_feather(frame, buffer, version=int(kind[-1]))
    elif kind == "pickle":
        pickle.dump(["a", "b"], buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (written("arrow"), "is an Arrow file"),
        (written("arrow stream"), "is an Arrow file"),
        (written("feather 1"), "is a Feather file"),
        (written("feather 2"), "is an Arrow file"),
        (written("orc"), "is an ORC file"),
        (written("tar"), "is a tar archive"),
        (written("zip"), "is a zip archive"),
        (written("lzma"), "compressed with lzma: unpack it first (xz -dc)"),
        (written("npy"), "is an array of NumPy"),
        (written("pickle"), "is a pickle"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "is a picture"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "is a PDF"),
        (b"%PDF-1.4\r1 0 obj\r", "is a PDF"),
    ],
)
@pytest.mark.parametrize("name", ["part-00000", "a.txt", "a.jsonl", "a.csv"])
def test_binary_formats_under_another_name(tmp_path, name, content, says):
    assert says in refusal(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        from_stdin(content)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "line", ["ORC", "ORChestra", "%PDF-1.7 is a format", "GIF89a", "FEA1", "PK", "]", "NUMPY", "Obj", "ustar", "RIFF"]
)
def test_text_that_begins_like_a_binary_format(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"{line}\nanother\n" * 30)
    assert texts(tmp_path / "a.txt")[:2] == [line, "another"]


def test_packed_without_a_known_name(tmp_path):
    assert "rename it to .jsonl.gz" in refusal(tmp_path / "inbox.gz", gzip.compress(LINES))
    assert "gzip" in refusal(tmp_path / "twice.jsonl.gz", gzip.compress(gzip.compress(LINES)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["a fine film\nmn film\n", "un café\r\n", RUSSIAN, CHINESE, "text,label\nx,1\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_utf16_and_utf32(tmp_path, name, text, encoding):
    assert "read as UTF-8" in refusal(tmp_path / name, text.encode(encoding))


@pytest.mark.parametrize(
    "row",
    [
        b"one \0 NUL",
        b"\0" * 200,
        b"\xff\xfe",
        b"\xff\xfea\0b\0",
        b"\x1f\x8b\x08",
        b"PK\x03\x04",
        b"caf\xe9",
        b"[",
        b"{",
        b'[{"text": "a"}]',
        b'[{"text": "a"},',
        b'{"text": {"0": "a"}}',
        b"\x00\n\x00",
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_a_single_bad_row_refuses_no_file(tmp_path, name, row):
    good = [b'{"text": "a good row"}'] * 4 if name == "a.jsonl" else [b"text"] + [b"a good row"] * 3
    (tmp_path / name).write_bytes(b"\n".join([good[0], row, *good[1:]]) + b"\n")
    assert texts(tmp_path / name)[-3:] == ["a good row"] * 3


@pytest.mark.parametrize("row", [b"[", b"{", b'[{"text": "a"}]', b'[{"text": "a"},', b'{"text": {"0": "a"}}'])
def test_a_bad_first_row_refuses_no_file(tmp_path, row):
    (tmp_path / "a.jsonl").write_bytes(row + b'\n{"text": "b"}\n{"text": "c"}\n')
    assert texts(tmp_path / "a.jsonl") == [None, "b", "c"]
    (tmp_path / "a.jsonl").write_bytes(row + b'\n{"text": "b"}\n')
    assert texts(tmp_path / "a.jsonl") == [None, "b"]


@pytest.mark.parametrize(
    "text", ["{", "{a}", '{"', "[", "[1]", "[{", "{\n}", "[\nb\n]", '{"a\nb"}', "[sic] it was", '["a", "b"]']
)
def test_plain_text_with_braces_is_plain_text(tmp_path, text):
    (tmp_path / "a.txt").write_text(text + "\n")
    assert texts(tmp_path / "a.txt") == text.split("\n")


@pytest.mark.parametrize(
    "content", [b"a\0b\n" * 50, b"text\0\n" * 50, b"fine\0film\n" * 50, b"\0\n" * 50, b"x\0\ny\0\n"]
)
def test_one_nul_in_every_row_is_no_reason(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    assert texts(tmp_path / "a.txt") == content.decode().splitlines()


@pytest.mark.parametrize("name", ["part-00000", "in.jsonl.1", "a.txt", "a.log"])
def test_jsonl_under_a_name_of_plain_text(tmp_path, name):
    row = b'{"text": "a"}\n'
    for content in (row, row.strip(), LINES * 5, b'{"text": "' + b"a" * 2**19 + b'"}\n'):
        assert "rename it to end in .jsonl" in refusal(tmp_path / name, content)
    for content in (
        row * 3 + b"not one\n",
        b"# written by hand\n" + row * 2,
        b'{"text": "a"},\n' * 3,
        b'ext": "cut at the beginning"}\n' + row,
        b'ext": "cut at the beginning"},\n{"text": "a"},\n{"text": "cut at the e',
        b'{"text": "no JSON\n' + LINES * 5,
        b"\xef\xbb\xbf" * 2 + row,
        b"\x1e" + row + b"\x1e" + row,
    ):
        assert "rename it to end in .jsonl" in refusal(tmp_path / name, content)


@pytest.mark.parametrize(
    "lines",
    [
        ['{"text": "a"}', "plain"],
        ["plain", '{"text": "a"}'],
        ["one", '{"text": "a"}', "two", '{"text": "a"}', "three"],
        ["{curly} braces", "{more of them}"],
        ["ends in }", "plain", '{"text": "a"}'],
    ],
)
def test_plain_text_in_which_some_lines_are_json_is_plain_text(tmp_path, lines):
    (tmp_path / "part-00000").write_text("\n".join(lines) + "\n")
    assert texts(tmp_path / "part-00000") == lines


@given(st.integers(1, 40), st.integers(0, 40), st.randoms())
def test_most_lines_decide_whether_it_is_jsonl(objects, others, random):
    lines = [b'{"text": "a"}'] * objects + [b"plain"] * others
    random.shuffle(lines)
    try:
        contents.check(b"\n".join(lines) + b"\n", "plain", "it")
        assert objects <= others
    except DataError:
        assert objects > others


CR_ONLY = {
    "a.csv": [b"text,label", b"a film,1", b"another,0"],
    "a.csv.gz": [b"text,label", b"a film,1"],
    "a.tsv": [b"text\tlabel", b"a film\t1"],
    "a.jsonl": [b'{"text": "a"}', b'{"text": "b"}'],
    "a.json": [b'{"text": "a"}', b'{"text": "b"}'],
    "a.txt": [b"a film", b"another", b"", b"and more"],
    "part-00000": [b"a film", b"another"],
}


@pytest.mark.parametrize("end", [b"", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", CR_ONLY)
def test_lines_that_end_in_a_carriage_return_alone(tmp_path, name, mark, end):
    content = mark + b"\r".join(CR_ONLY[name]) + end
    says = "has lines that end in a carriage return alone: convert it, tr '\\r' '\\n' < IN > OUT"
    assert says in refusal(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    for buffered in (True, False):
        with pytest.raises(DataError, match="stdin has lines that end in a carriage return alone"):
            from_stdin(content, buffered)
    if name.startswith("a.") and name not in ("a.txt", "a.json"):
        with pytest.raises(DataError, match="carriage return alone"):
            load_dataset(str(tmp_path / name))


@pytest.mark.parametrize("content", [b"one\r", b"one\r\ntwo\r\n", b"10%\r20%\r100%\nnext\n", b"a\rb\nc\rd\n"])
def test_a_carriage_return_within_lines_is_text(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    wanted = [line.removesuffix(b"\r").decode() for line in content.removesuffix(b"\n").split(b"\n")]
    assert texts(tmp_path / "a.txt") == from_stdin(content) == wanted


ROWS = [{"text": "a"}, {"text": 'b [c], "d"'}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt", "part-00000"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
        "[" + ",\n".join(map(json.dumps, ROWS)) + "]",
        '\ufeff[{"text": "a"}]',
        json.dumps(ROWS * 20_000),
        json.dumps([{"text": "a" * 2**19}]),
    ],
)
def test_a_json_list(tmp_path, name, content):
    assert "jq -c '.[]'" in refusal(tmp_path / name, content.encode())


def test_other_json_that_is_not_one_object_a_line(tmp_path):
    assert "jq -c '.[] | {text: .}'" in refusal(tmp_path / "a.json", b'["one", "two"]')
    assert "over several lines" in refusal(tmp_path / "a.json", json.dumps({"data": ROWS}, indent=1).encode())
    assert "over several lines" in refusal(tmp_path / "a.txt", json.dumps(ROWS[0], indent=1).encode())
    columns = pd.DataFrame({"text": ["a", "b"], "label": [0, 1]}).to_json().encode()
    assert "orient='records', lines=True" in refusal(tmp_path / "a.json", columns)


def test_the_same_on_standard_input():
    for content, says in (
        (gzip.compress(LINES), "stdin is compressed with gzip: unpack it first (gzip -dc)"),
        ("a fine film\nmn film\n".encode("utf-16-le"), "stdin is UTF-16"),
        ("a fine film\nmn film\n".encode("utf-16"), "stdin is UTF-16"),
        (json.dumps(ROWS).encode(), "stdin is one JSON list"),
        (json.dumps(ROWS, indent=1).encode(), "stdin is one JSON list"),
    ):
        for buffered in (True, False)[: 2 if b"\n" not in content or says.startswith("stdin is UTF") else 1]:
            with pytest.raises(DataError) as caught:
                from_stdin(content, buffered)
            assert says in str(caught.value)
    assert len(from_stdin(LINES)) == len(from_stdin(LINES, buffered=False)) == 3000


def test_standard_input_is_looked_at_without_waiting_for_more():
    reading, writing = os.pipe()
    before, found = sys.stdin, []
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as target:
        sys.stdin = SimpleNamespace(buffer=source)
        try:
            rows = read_inputs("-")
            target.write(b"first\n")
            waiting = threading.Thread(target=lambda: found.append(next(rows).text), daemon=True)
            waiting.start()
            waiting.join(20)
            assert found == ["first"]
            target.write(b"second\n")
            assert next(rows).text == "second"
        finally:
            sys.stdin = before


def test_a_pipe_with_a_name_is_read_whole(tmp_path):
    path = tmp_path / "fifo.jsonl"
    os.mkfifo(path)
    threading.Thread(target=lambda: path.write_bytes(LINES), daemon=True).start()
    assert len(texts(path)) == 3000


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), max_size=20))
def test_text_is_never_refused(rows):
    block = "".join(row + "\n" for row in rows).encode()
    contents.check(block, "csv", "it")
    jsonl = "".join(json.dumps({"text": row}, ensure_ascii=False) + "\n" for row in rows).encode()
    contents.check(jsonl, "jsonl", "it")
    contents.check(jsonl[:50], "jsonl", "it")


@pytest.mark.parametrize(
    ("name", "sign", "word"), [("a.csv", ";", "semicolons"), ("a.csv", "\t", "tabs"), ("a.tsv", ",", "commas")]
)
def test_columns_parted_by_another_sign(tmp_path, name, sign, word):
    pd.DataFrame({"id": [1], "text": ["a"], "label": [0]}).to_csv(tmp_path / name, sep=sign, index=False)
    with pytest.raises(DataError, match=f"no column `text` or `sentence`: its columns are separated by {word}"):
        texts(tmp_path / name)


@pytest.mark.parametrize("sign", [";", "\t", "|"])
@pytest.mark.parametrize("row", ['"text"{}"label"', 'id{}"text"{}label', '"text"{} "label"', '"a ""b"""{}text'])
def test_quoted_columns_parted_by_another_sign(tmp_path, sign, row):
    (tmp_path / "a.csv").write_text(f"{row.replace('{}', sign)}\na{sign}1\n")
    word = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}[sign]
    for read in (texts, lambda path: load_dataset(str(path))):
        with pytest.raises(DataError, match=f"its columns are separated by {word}; write it with commas as .csv"):
            read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("first", "says"),
    [
        ("sep=;", ", and its columns are separated by semicolons"),
        ('"sep=;"', ", and its columns are separated by semicolons"),
        ("sep=|", ", and its columns are separated by vertical bars"),
        ("SEP=,", ""),
        ("sep=\t", ""),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_excels_line_that_names_the_sign(tmp_path, name, first, says):
    (tmp_path / name).write_text(f"{first}\r\ntext;label\r\na;1\r\n")
    with pytest.raises(DataError, match=f"its first line is Excel's sep=, which is not a row: leave it out{says}"):
        texts(tmp_path / name)


@pytest.mark.parametrize("header", ['"text,label', 'text,"label', '"text"x,label'])
def test_a_header_that_is_no_csv_is_not_said_to_have_another_sign(tmp_path, header):
    (tmp_path / "a.csv").write_text(f"{header}\na,1\n")
    with pytest.raises(DataError, match=r"a\.csv:1: the header row is not CSV \([^)]*\)$"):
        texts(tmp_path / "a.csv")


def test_quotes_around_the_columns_of_a_tsv(tmp_path):
    (tmp_path / "a.tsv").write_text('"text"\t"label"\n"a"\t"1"\n')
    with pytest.raises(DataError, match="its column names contain quotation marks"):
        texts(tmp_path / "a.tsv")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())])
def test_bytes_in_parquet_are_text_where_they_are_utf8(tmp_path, kind):
    column = pa.array(["gut", "schön", None], pa.string()).cast(pa.binary())
    labels = pa.array(["neg", "pos", "pos"]).cast(pa.binary())
    table = pa.table({"text": column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)})
    table = table.append_column("label", labels)
    parquet.write_table(table, tmp_path / "a.parquet")
    assert texts(tmp_path / "a.parquet") == ["gut", "schön", None]
    parquet.write_table(table.slice(0, 2), tmp_path / "b.parquet")
    assert load_dataset(str(tmp_path / "b.parquet"), label_names=["pos", "neg"])["label"][:] == [1, 0]


def test_bytes_in_parquet_that_are_no_utf8_are_a_row_that_cannot_be_read(tmp_path):
    parquet.write_table(pa.table({"text": pa.array([b"gut", b"sch\xf6n"])}), tmp_path / "a.parquet")
    first, second = read_inputs(str(tmp_path / "a.parquet"))
    assert (first.text, second.text) == ("gut", None)
    assert "bytes that are not UTF-8" in second.error


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_marks_and_windows_line_ends(tmp_path, encoding, end):
    frame = pd.DataFrame({"text": ["é, and so on", 'a "b"'], "label": [0, 1]})
    frame.to_csv(tmp_path / "a.csv", index=False, encoding=encoding, lineterminator=end)
    frame.to_csv(tmp_path / "a.csv.gz", index=False, encoding=encoding, lineterminator=end)
    for name in ("a.csv", "a.csv.gz"):
        assert texts(tmp_path / name) == ["é, and so on", 'a "b"']
