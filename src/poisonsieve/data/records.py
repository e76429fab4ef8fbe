"""One row of a file: a text, or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from poisonsieve.data.columns import AS_USUAL, Columns
from poisonsieve.parsing import RepeatedKeyError, parse_json

#: What to do about a file of another encoding than UTF-8; that of old Windows programs is the most frequent.
CONVERT = "convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_RECORD_SEPARATOR = b"\x1e"  # before each object in JSON text sequences (RFC 7464)


@dataclass(frozen=True, slots=True)
class Record:
    """One row: a text, or the reason why there is none.

    Attributes:
        line: line number, from 1; in Parquet, the row.
        text: the text; None exactly when `error` is set.
        label: label as in the file; None if absent.
        error: the error, without file and line.
        extra: values of the other requested columns as in the file; missing columns are left out.
        id: value of the id column; None if none was named or the row could not be split into columns.
    """

    line: int
    text: str | None = None
    label: object = None
    error: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    id: str | int | None = None


def record_of(
    number: int, fields: Mapping[str, object], extra: Sequence[str] = (), columns: Columns = AS_USUAL
) -> Record:
    """Make a record of a row that has been split into columns."""
    identity = None if columns.id is None else _identity(fields.get(columns.id))
    named = [name for name in columns.texts if name in fields]
    text = fields[named[0]] if named else None
    error = _problem(text, named, columns)
    if error is not None or not isinstance(text, str):
        return Record(number, error=error, id=identity)
    kept = {name: fields[name] for name in extra if name in fields}
    return Record(number, text, fields.get(columns.labels), None, kept, identity)


def _problem(text: object, named: Sequence[str], columns: Columns) -> str | None:
    """Return why a row's text cannot be used, or None if it can."""
    if len(named) > 1:
        return "both `text` and `sentence` are present; one would go unread"
    if text is None and columns.text is not None:
        return "text is missing (the column that --text-column names is missing or empty)"
    if text is None:
        return "text is missing (it is read from `text` or `sentence`; --text-column names another)"
    if isinstance(text, bytes):
        return "text is bytes that are not UTF-8"
    if not isinstance(text, str):
        return f"text is not a string but {type(text).__name__}"
    return None if is_encodable(text) else "text contains half of a surrogate pair, which is not a character"


def _identity(value: object) -> str | int | None:
    """Return a row's id in a form that can be written: a whole number as it is, anything else as text."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def json_record(line: bytes, number: int, extra: Sequence[str] = (), columns: Columns = AS_USUAL) -> Record:
    """Parse one line of JSONL."""
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
    return record_of(number, value, extra, columns)


def plain_record(line: bytes, number: int) -> Record:
    """Make a record of one line of plain text, all of which is the text."""
    try:
        return Record(number, decode_line(line, number))
    except UnicodeDecodeError as error:
        return Record(number, error=not_utf8(error))


def decode_line(line: bytes, number: int) -> str:
    """Decode a line, without its line break and, on line 1, without byte order marks.

    Raises:
        UnicodeDecodeError: the line is not UTF-8.
    """
    if number == 1:
        line = without_byte_order_marks(line)
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")


def without_byte_order_marks(line: bytes) -> bytes:
    """Strip leading byte order marks; there can be several if a marked file was saved again with a mark."""
    while line.startswith(_BYTE_ORDER_MARK):
        line = line.removeprefix(_BYTE_ORDER_MARK)
    return line


def without_marks(line: bytes) -> bytes:
    """Strip the marks that may precede a JSON text."""
    return without_byte_order_marks(without_byte_order_marks(line).removeprefix(_RECORD_SEPARATOR))


def not_utf8(error: UnicodeDecodeError) -> str:
    """Describe the byte that is not UTF-8, and what to do."""
    return f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start + 1}); {CONVERT}"


def is_encodable(text: str) -> bool:
    """Tell whether a string can be encoded as UTF-8; JSON escapes can produce one that cannot, which tokenizers refuse."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
