"""Reading the texts to be screened: one output row per input row, whatever it contains.

A bad row carries an error and never stops the reading, so that the caller can reject that row and go on.

- ``.jsonl``, ``.ndjson``, ``.json``: one object per line, the text under `text` or `sentence`; blank lines are skipped.
- ``.csv``, ``.tsv``, ``.parquet``: with a column `text` or `sentence`, see `poisonsieve.data.files`.
- any other file: plain text, one row per line; an empty line is an empty text.
- any of these but Parquet followed by ``.gz``: ``.jsonl.gz``, ``.txt.gz``.
- ``-``: standard input. A line that starts with ``{`` is a JSON object, any other is plain text; so a plain text that
  starts with ``{`` must be sent as JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from poisonsieve.data.columns import AS_USUAL, Columns
from poisonsieve.data.files import exists, format_of, read_records
from poisonsieve.data.opening import checked_stdin, open_lines
from poisonsieve.data.records import Record, json_record, plain_record, without_marks
from poisonsieve.errors import DataError


@dataclass(frozen=True, slots=True)
class InputRow:
    """One text to be screened, or the reason why there is none.

    Attributes:
        index: position among the rows, from 0.
        line: source line on which the row starts, from 1; in Parquet, the row.
        text: the text; None exactly when `error` is set.
        error: the error with source and line, such as ``input.jsonl:7: not JSON (...)``.
        label: the label as in the source; None if there is none.
        id: the caller's own id of the row; None if no id column was named or the row could not be read.
    """

    index: int
    line: int
    text: str | None
    error: str | None = None
    label: object = None
    id: str | int | None = None


def read_inputs(source: str, columns: Columns = AS_USUAL) -> Iterator[InputRow]:
    """Stream the rows of a file, or of standard input for ``-``.

    Args:
        source: path of a file, or ``-``.
        columns: names of the text, label and id columns.

    Raises:
        DataError: the file is missing, unreadable or a folder, its content does not match its name, it lacks a text
            column, or there is no standard input. A single bad row never raises.
    """
    if source == "-":
        return _numbered(_stdin_records(_stdin(), columns), "stdin")
    path = Path(source)
    if not exists(path):
        raise DataError(f"{source}: no such file")
    if path.is_dir():
        raise DataError(f"{source} is a folder; give one file, or - for standard input")
    kind = "jsonl" if path.suffix.lower() == ".json" else format_of(path)
    if kind is None and columns.required():
        raise DataError(f"{source} is plain text, which has no columns; leave out {', '.join(columns.required())}")
    return _numbered(read_records(path, kind, columns=columns) if kind else _plain_file(path), source)


def _numbered(records: Iterable[Record], source: str) -> Iterator[InputRow]:
    for index, record in enumerate(records):
        error = None if record.error is None else f"{source}:{record.line}: {record.error}"
        yield InputRow(index, record.line, record.text, error, record.label, record.id)


def _plain_file(path: Path) -> Iterator[Record]:
    packed = path.suffix.lower() == ".gz"
    if packed and Path(path.stem).suffix.lower() != ".txt":
        raise DataError(
            f"{path}: its name does not say what it holds; rename it to .jsonl.gz, .csv.gz, .tsv.gz or .txt.gz"
        )
    try:
        with open_lines(path, "plain") as lines:
            for number, line in enumerate(lines, 1):
                yield plain_record(line, number)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _stdin() -> Iterable[bytes]:
    """Return standard input as bytes.

    Raises:
        DataError: standard input is missing or closed.
    """
    if sys.stdin is None or getattr(sys.stdin, "closed", False):
        raise DataError("stdin is closed; pipe the texts in, or give a file")
    return sys.stdin.buffer


def _stdin_records(stream: Iterable[bytes], columns: Columns) -> Iterator[Record]:
    try:
        for number, line in enumerate(checked_stdin(stream), 1):
            is_json = without_marks(line).startswith(b"{")
            yield json_record(line, number, (), columns) if is_json else plain_record(line, number)
    except OSError as error:
        raise DataError(f"cannot read stdin: {error.strerror or error}") from error
