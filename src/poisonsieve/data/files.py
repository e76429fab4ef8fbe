"""Reading rows from JSONL, CSV, TSV and Parquet files.

One reader serves training data, where a bad row is an error, and inputs to be screened, where it must not stop the
rest: each row becomes a `Record` that holds either a text or what is wrong with it.

- JSONL: one object a line; blank lines are skipped.
- CSV: quoted as Python's csv and spreadsheets write it, line breaks in quotes included; a row is named by the line it
  starts on.
- TSV: fields parted by tabs, quotes mean nothing. The common data sets (GLUE) are written so, with stray quotes.
- Parquet: rows are counted from 1.

The text is the column `text`, else `sentence`. Files are UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poisonsieve.errors import DataError

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
TEXT_COLUMNS = ("text", "sentence")
LABEL_COLUMN = "label"


@dataclass(frozen=True, slots=True)
class Record:
    """One row: a text, or the reason there is none.

    Attributes:
        line: from 1; in Parquet the row.
        text: None exactly when `error` is set.
        label: as it stands in the file; None if absent.
        error: what is wrong, without file and line.
        extra: values of the other columns that were asked for, as they stand in the file; absent ones are not in it.
    """

    line: int
    text: str | None = None
    label: object = None
    error: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


def format_of(path: Path) -> str | None:
    """``jsonl``, ``csv``, ``tsv`` or ``parquet`` by the file's extension, else None."""
    return FORMATS.get(path.suffix.lower())


def read_records(path: Path, kind: str, *, need_label: bool = False, extra: Sequence[str] = ()) -> Iterator[Record]:
    """Stream the rows of a file.

    Args:
        path: the file.
        kind: what `format_of` says of it.
        need_label: insist on a column `label`, where the format names its columns.
        extra: other columns to keep, in `Record.extra`.

    Raises:
        DataError: the file is absent or unreadable, is no Parquet file, or lacks a column. Never for a single row.
    """
    try:
        if kind == "parquet":
            yield from _parquet_records(path, need_label, extra)
            return
        with path.open("rb") as stream:
            yield from _line_records(stream, kind, str(path), need_label, extra)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def exists(path: Path) -> bool:
    """Whether there is a file or folder; no for a path that cannot be looked at (too long, folder closed to us)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def decode_line(line: bytes, number: int) -> str:
    """A line's text without its line break, and without a byte order mark on line 1.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    if number == 1:
        line = line.removeprefix(b"\xef\xbb\xbf")
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")


def json_record(line: bytes, number: int, extra: Sequence[str] = ()) -> Record:
    """The record in one line of JSONL."""
    try:
        value = json.loads(decode_line(line, number), object_pairs_hook=_without_repeats)
    except UnicodeDecodeError as error:
        return Record(number, error=not_utf8(error))
    except (ValueError, RecursionError) as error:  # ValueError: malformed, or a number of thousands of digits
        return Record(number, error=f"not JSON ({error})")
    if not isinstance(value, dict):
        return Record(number, error="not a JSON object")
    return _record(number, value, extra)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys are all different; JSON allows more, and then one value would hide another."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def not_utf8(error: UnicodeDecodeError) -> str:
    """Says which byte is wrong."""
    return f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start + 1})"


def _line_records(
    stream: Iterable[bytes], kind: str, source: str, need_label: bool, extra: Sequence[str]
) -> Iterator[Record]:
    if kind == "jsonl":
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield json_record(line, number, extra)
        return
    rows = _csv_rows(stream) if kind == "csv" else _tsv_rows(stream)
    header = next(rows, None)
    if header is None:
        return
    number, names, error = header
    if error:
        raise DataError(f"{source}:{number}: the header row is {error}")
    names = [name.strip() for name in names]
    _require_columns(names, source, need_label)
    for number, fields, error in rows:
        if not error and len(fields) != len(names):
            error = f"{len(fields)} fields, but the header has {len(names)}"
        yield Record(number, error=error) if error else _record(number, dict(zip(names, fields, strict=True)), extra)


def _tsv_rows(stream: Iterable[bytes]) -> Iterator[tuple[int, list[str], str | None]]:
    for number, line in enumerate(stream, 1):
        if not line.strip(b"\r\n"):
            continue
        try:
            yield number, decode_line(line, number).split("\t"), None
        except UnicodeDecodeError as error:
            yield number, [], not_utf8(error)


def _csv_rows(stream: Iterable[bytes]) -> Iterator[tuple[int, list[str], str | None]]:
    # Bytes that are not UTF-8 pass through the parser as surrogates and are found in the fields, so that one bad
    # line does not end the reading. strict: a quote that is never closed is an error, not the rest of the file.
    lines = (
        (line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line).decode("utf-8", "surrogateescape")
        for number, line in enumerate(stream)
    )
    reader = csv.reader(lines, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = _next_row(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, [], f"not CSV ({error})"
            continue
        if not all(map(is_encodable, fields)):
            yield start, [], "not UTF-8"
        elif fields:
            yield start, fields, None


def _next_row(reader: Any) -> list[str]:
    """The next row, however long its fields: csv's limit of 128 KiB is global, so lift it for this call only."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        return list(next(reader))
    finally:
        csv.field_size_limit(limit)


def _parquet_records(path: Path, need_label: bool, extra: Sequence[str]) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            _require_columns(names, str(path), need_label)
            wanted = [name for name in (*TEXT_COLUMNS, LABEL_COLUMN, *extra) if name in names]
            row = 0
            for batch in file.iter_batches(batch_size=1024, columns=wanted):
                columns = {name: _values(batch.column(name)) for name in wanted}
                for index in range(batch.num_rows):
                    row += 1
                    yield _record(row, {name: values[index] for name, values in columns.items()}, extra)
    except pyarrow.ArrowException as error:
        raise DataError(f"cannot read {path} as Parquet: {str(error).splitlines()[0]}") from error


def _values(column: Any) -> list[Any]:
    """Python values; bytes where a string is not UTF-8."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(item) for item in column]


def _value(item: Any) -> Any:
    try:
        return item.as_py()
    except UnicodeDecodeError:
        return item.as_buffer().to_pybytes()


def _record(number: int, fields: Mapping[str, object], extra: Sequence[str]) -> Record:
    named = [name for name in TEXT_COLUMNS if name in fields]
    if len(named) > 1:
        return Record(number, error="`text` and `sentence` are both there; one would go unread")
    name = named[0] if named else None
    text = None if name is None else fields[name]
    if text is None:
        return Record(number, error="text is missing (it is read from `text` or `sentence`)")
    if isinstance(text, bytes):
        return Record(number, error="text is bytes that are not UTF-8")
    if not isinstance(text, str):
        return Record(number, error=f"text is not a string but {type(text).__name__}")
    if not is_encodable(text):
        return Record(number, error="text holds half of a surrogate pair, which is no character")
    return Record(
        number, text, fields.get(LABEL_COLUMN), None, {name: fields[name] for name in extra if name in fields}
    )


def is_encodable(text: str) -> bool:
    """Whether a string can be written as UTF-8; a JSON escape can make one that cannot, and tokenizers refuse it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _require_columns(names: list[str], source: str, need_label: bool) -> None:
    if not any(name in names for name in TEXT_COLUMNS):
        raise DataError(f"{source}: no column `text` or `sentence`; columns: {', '.join(names)}")
    if need_label and LABEL_COLUMN not in names:
        raise DataError(f"{source}: no column `label`; columns: {', '.join(names)}")
