"""One row of a file: a text, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from poisonsieve.parsing import RepeatedKeyError, parse_json
from poisonsieve.texts import TEXT_COLUMNS

LABEL_COLUMN = "label"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_RECORD_SEPARATOR = b"\x1e"  # before each object in JSON text sequences (RFC 7464)


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


def record_of(number: int, fields: Mapping[str, object], extra: Sequence[str] = ()) -> Record:
    """The record of a row whose columns have been told apart."""
    named = [name for name in TEXT_COLUMNS if name in fields]
    if len(named) > 1:
        return Record(number, error="`text` and `sentence` are both there; one would go unread")
    text = fields[named[0]] if named else None
    if text is None:
        return Record(number, error="text is missing (it is read from `text` or `sentence`)")
    if isinstance(text, bytes):
        return Record(number, error="text is bytes that are not UTF-8")
    if not isinstance(text, str):
        return Record(number, error=f"text is not a string but {type(text).__name__}")
    if not is_encodable(text):
        return Record(number, error="text holds half of a surrogate pair, which is no character")
    kept = {name: fields[name] for name in extra if name in fields}
    return Record(number, text, fields.get(LABEL_COLUMN), None, kept)


def json_record(line: bytes, number: int, extra: Sequence[str] = ()) -> Record:
    """The record in one line of JSONL."""
    try:
        value = parse_json(decode_line(without_marks(line), number))
    except UnicodeDecodeError as error:
        return Record(number, error=not_utf8(error))
    except RepeatedKeyError as error:
        return Record(number, error=str(error))
    except (ValueError, RecursionError) as error:  # ValueError: malformed, or a number of thousands of digits
        return Record(number, error=f"not JSON ({error})")
    if not isinstance(value, dict):
        return Record(number, error="not a JSON object")
    return record_of(number, value, extra)


def plain_record(line: bytes, number: int) -> Record:
    """The record in one line of plain text: all of it is the text."""
    try:
        return Record(number, decode_line(line, number))
    except UnicodeDecodeError as error:
        return Record(number, error=not_utf8(error))


def decode_line(line: bytes, number: int) -> str:
    """A line's text without its line break, and without byte order marks on line 1.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    if number == 1:
        line = without_byte_order_marks(line)
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")


def without_byte_order_marks(line: bytes) -> bytes:
    """Bytes without the marks they begin with: more than one where a marked file was written once more with a mark."""
    while line.startswith(_BYTE_ORDER_MARK):
        line = line.removeprefix(_BYTE_ORDER_MARK)
    return line


def without_marks(line: bytes) -> bytes:
    """Bytes without what may stand before a JSON text and is no part of it."""
    return without_byte_order_marks(without_byte_order_marks(line).removeprefix(_RECORD_SEPARATOR))


def not_utf8(error: UnicodeDecodeError) -> str:
    """Says which byte is wrong."""
    return f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start + 1})"


def is_encodable(text: str) -> bool:
    """Whether a string can be written as UTF-8; a JSON escape can make one that cannot, and tokenizers refuse it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
