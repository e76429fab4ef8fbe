"""Reading rows from JSONL, CSV, TSV and Parquet files.

The same reader serves training data, where a bad row is an error, and inputs to be screened, where it must not stop the
rest: each row becomes a `Record` with either a text or an error.

- JSONL: one object per line; blank lines are skipped.
- CSV: quoted as Python's csv and spreadsheets write it, including line breaks in quotes; a row is identified by the
  line on which it starts.
- TSV: fields separated by tabs; quotes have no meaning, since common data sets (GLUE) contain stray ones.
- Parquet: rows are counted from 1.

The text is in the column `text`, else `sentence`, unless `Columns` names another. Files are UTF-8, with or without a
byte order mark; all but Parquet may be gzipped (``.jsonl.gz``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from poisonsieve.data.columns import AS_USUAL, Columns, column_names, columns_to_read, separator_hint
from poisonsieve.data.csv_rows import CsvRow, csv_rows
from poisonsieve.data.opening import open_lines
from poisonsieve.data.parquet_rows import parquet_rows
from poisonsieve.data.records import (
    CONVERT,
    Record,
    decode_line,
    is_encodable,
    json_record,
    not_utf8,
    record_of,
)
from poisonsieve.errors import DataError
from poisonsieve.texts import TEXT_COLUMNS

__all__ = ["FORMATS", "TEXT_COLUMNS", "Record", "exists", "extensions", "format_of", "is_encodable"]
__all__ += ["json_record", "read_records"]

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
# `.json.gz` but not `.json`: a gzipped file usually holds rows (as in C4), a plain one often metadata.
_PACKED = {".json": "jsonl", **{suffix: kind for suffix, kind in FORMATS.items() if kind != "parquet"}}


def format_of(path: Path) -> str | None:
    """Return ``jsonl``, ``csv``, ``tsv`` or ``parquet`` by the file's extension, ignoring ``.gz``; None if unknown."""
    if path.suffix.lower() == ".gz":
        return _PACKED.get(Path(path.stem).suffix.lower())
    return FORMATS.get(path.suffix.lower())


def extensions() -> str:
    """List the extensions that `format_of` knows, for messages."""
    return ", ".join(FORMATS) + ", or one of the first four with .gz"


def read_records(
    path: Path, kind: str, *, need_label: bool = False, extra: Sequence[str] = (), columns: Columns = AS_USUAL
) -> Iterator[Record]:
    """Stream the rows of a file.

    Args:
        path: the file.
        kind: the result of `format_of`.
        need_label: require a label column, in formats with named columns.
        extra: other columns to keep in `Record.extra`.
        columns: names of the text, label and id columns.

    Raises:
        DataError: the file is missing or unreadable, its content does not match its name, or a column is missing or
            occurs twice. A single bad row never raises.
    """
    try:
        if kind == "parquet":
            for row, fields in enumerate(parquet_rows(path, need_label=need_label, extra=extra, columns=columns), 1):
                yield record_of(row, fields, extra, columns)
            return
        with open_lines(path, kind) as lines:
            if kind == "jsonl":
                yield from _json_records(lines, extra, columns)
            else:
                rows = csv_rows(lines) if kind == "csv" else _tsv_rows(lines)
                yield from _table_records(rows, str(path), need_label, extra, columns)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def exists(path: Path) -> bool:
    """Tell whether there is a file or folder; False for a path that cannot be accessed (too long, no permission)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _json_records(lines: Iterable[bytes], extra: Sequence[str], columns: Columns) -> Iterator[Record]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield json_record(line, number, extra, columns)


def _table_records(
    rows: Iterator[CsvRow], source: str, need_label: bool, extra: Sequence[str], columns: Columns
) -> Iterator[Record]:
    header = next(rows, None)
    if header is None:
        return
    problem = _problem(header)
    if problem:
        raise DataError(f"{source}:{header.line}: the header row is {problem}{separator_hint(header.raw.split(','))}")
    names = column_names(header.fields)
    wanted = columns_to_read(names, source, need_label=need_label, extra=extra, columns=columns)
    places = [(name, names.index(name)) for name in wanted]
    for row in rows:
        problem = _problem(row)
        if not problem and len(row.fields) != len(names):
            problem = f"{len(row.fields)} fields, but the header has {len(names)}"
        if problem:
            yield Record(row.line, error=problem)
        else:
            yield record_of(row.line, {name: row.fields[place] for name, place in places}, extra, columns)


def _problem(row: CsvRow) -> str | None:
    return row.error or (None if all(map(is_encodable, row.fields)) else f"not UTF-8; {CONVERT}")


def _tsv_rows(lines: Iterable[bytes]) -> Iterator[CsvRow]:
    for number, line in enumerate(lines, 1):
        if not line.strip(b"\r\n"):
            continue
        try:
            yield CsvRow(number, decode_line(line, number).split("\t"))
        except UnicodeDecodeError as error:
            yield CsvRow(number, error=not_utf8(error))
