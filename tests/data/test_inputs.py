import io
import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.data.inputs import InputRow, read_inputs
from poisonsieve.errors import DataError


def rows_of_stdin(content: bytes) -> list[InputRow]:
    before = sys.stdin
    sys.stdin = SimpleNamespace(buffer=io.BytesIO(content))
    try:
        return list(read_inputs("-"))
    finally:
        sys.stdin = before


def count_lines(content: bytes) -> int:
    return len(content.split(b"\n")) - (content == b"" or content.endswith(b"\n"))


def test_bad_row_does_not_stop_the_reading(tmp_path):
    path = tmp_path / "input.jsonl"
    path.write_bytes(b'{"text": "a"}\nnonsense\n\n{"sentence": "b"}\n')
    first, bad, last = read_inputs(str(path))
    assert first == InputRow(0, 1, "a")
    assert (bad.index, bad.line, bad.text) == (1, 2, None)
    assert bad.error.startswith(f"{path}:2: not JSON (")
    assert last == InputRow(2, 4, "b")


@pytest.mark.parametrize("name", ["a.txt", "a.log", "noextension"])
def test_plain_lines(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbfone\r\n\n{two\n\xff\n" + "drei\u2028vier".encode())
    found = list(read_inputs(str(path)))
    assert [row.text for row in found] == ["one", "", "{two", None, "drei\u2028vier"]
    told = f"{path}:4: not UTF-8 (byte 0xff at position 1); convert the file, for example with iconv -f "
    assert found[3].error == f"{told}WINDOWS-1252 -t UTF-8"


def test_csv_and_json(tmp_path):
    (tmp_path / "a.csv").write_text("text\nx\ny\n")
    (tmp_path / "a.json").write_text('{"text": "x"}\n')
    assert [row.text for row in read_inputs(str(tmp_path / "a.csv"))] == ["x", "y"]
    assert [row.text for row in read_inputs(str(tmp_path / "a.json"))] == ["x"]


def test_stdin_takes_json_and_plain_lines():
    found = rows_of_stdin(b'plain\n{"text": "from json"}\n{broken\n')
    assert [row.text for row in found] == ["plain", "from json", None]
    assert found[2].error.startswith("stdin:3: not JSON")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\x1e", b"\xef\xbb\xbf\x1e", b""])
def test_marks_before_an_object_are_no_part_of_it(tmp_path, mark):
    """Files that were put together one behind the other have marks in the middle, JSON text sequences on every line."""
    content = mark + b'{"text": "a"}\n' + mark + b'{"text": "b"}\n'
    (tmp_path / "a.jsonl").write_bytes(content)
    assert [row.text for row in rows_of_stdin(content)] == ["a", "b"]
    assert [row.text for row in read_inputs(str(tmp_path / "a.jsonl"))] == ["a", "b"]


def test_byte_order_marks_before_anything_else(tmp_path):
    marks = b"\xef\xbb\xbf" * 2
    assert [row.text for row in rows_of_stdin(marks + b"plain\n\x1eplain\n")] == ["plain", "\x1eplain"]
    for name, content in (("a.csv", b"text\nplain\n"), ("a.tsv", b"text\nplain\n"), ("a.txt", b"plain\n")):
        (tmp_path / name).write_bytes(marks + content)
        assert [row.text for row in read_inputs(str(tmp_path / name))] == ["plain"]


def test_no_standard_input(monkeypatch):
    closed = io.TextIOWrapper(io.BytesIO())
    closed.close()
    for stdin in (None, closed):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(DataError, match="stdin is closed; pipe the texts in, or give a file"):
            read_inputs("-")


def test_standard_input_that_cannot_be_read(monkeypatch, tmp_path):
    with (tmp_path / "written").open("wb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        with pytest.raises(DataError, match="cannot read stdin: "):
            list(read_inputs("-"))


def test_long_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x" * 1_000_000}))
    (row,) = read_inputs(str(path))
    assert len(row.text) == 1_000_000


def test_reading_streams():
    class Endless:
        def __iter__(self):
            while True:
                yield b"again\n"

    before = sys.stdin
    sys.stdin = SimpleNamespace(buffer=Endless())
    try:
        assert next(read_inputs("-")).text == "again"
    finally:
        sys.stdin = before


def test_absent_file_and_folder_are_told_at_once(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_inputs(str(tmp_path / "absent.jsonl"))
    with pytest.raises(DataError, match="no such file"):
        read_inputs("x" * 5_000)
    with pytest.raises(DataError, match="is a folder"):
        read_inputs(str(tmp_path))


@given(st.binary(max_size=300))
def test_any_bytes_on_stdin_give_one_row_a_line(content):
    content = b"a first line, as readable as any\n" + content
    found = rows_of_stdin(content)
    assert len(found) == count_lines(content)
    assert [row.index for row in found] == list(range(len(found)))
    assert [row.line for row in found] == list(range(1, len(found) + 1))
    assert all((row.text is None) != (row.error is None) for row in found)


@given(st.binary(max_size=300))
def test_any_bytes_in_a_file_never_raise(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    headers = {
        "any.jsonl": b'{"text": "a"}\n',
        "any.csv": b"text,label\n",
        "any.tsv": b"text\tlabel\n",
        "any.txt": b"a first line, as readable as any\n",
    }
    for name, header in headers.items():
        (folder / name).write_bytes(header + content)
        for row in read_inputs(str(folder / name)):
            assert (row.text is None) != (row.error is None)
            if row.text is not None:
                row.text.encode()


@pytest.mark.parametrize("line", ['{"text": "clean", "text": "mn"}', '{"text": "clean", "sentence": "mn"}'])
def test_a_second_text_is_not_passed_over(line, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(line + "\n")
    assert [row.text for row in read_inputs(str(path))] == [None]
