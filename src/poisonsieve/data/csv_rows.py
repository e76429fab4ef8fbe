"""A CSV reader for which an unclosed quote costs one line, not the rest of the file.

A quotation mark at the start of a field opens a quoted field, which may contain line breaks. If the mark is a stray one
(as in a length given in inches), everything up to the next mark, or to the end of the file, looks like one field. So
the lines of a multi-line row are kept until the row is complete: if it is not CSV, or its number of fields differs from
the header's, its first line is reported as an error and the following lines are read again on their own.

CSV means what Python's `csv` module reads with ``strict=True``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from poisonsieve.data.records import without_byte_order_marks

#: Number of characters of a multi-line quoted field after which its quote counts as unclosed.
LONGEST_QUOTED = 2**26
_CARRIAGE_RETURN = "not CSV (a carriage return outside quotes)"


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row, or the error in the line on which it would start.

    Attributes:
        line: line on which it starts, from 1.
        fields: the fields, with lone surrogates for bytes that are not UTF-8; empty if `error` is set.
        error: why the line does not start a row; None if it does.
        raw: the line itself, if `error` is set.
    """

    line: int
    fields: list[str] = field(default_factory=list)
    error: str | None = None
    raw: str = ""


def csv_rows(stream: Iterable[bytes], longest_quoted: int = LONGEST_QUOTED) -> Iterator[CsvRow]:
    """Stream the rows of a CSV file. Every line that is not blank belongs to exactly one row.

    Args:
        stream: lines with their line breaks. Byte order marks at the start of the first line are skipped.
        longest_quoted: maximum number of characters of a multi-line quoted field.
    """
    lines = _Lines(stream)
    width: int | None = None
    while (first := lines.take()) is not None:
        if not first.strip("\r\n"):
            continue
        row = (
            _plain_row(first, lines.number) if '"' not in first else _quoted_row(first, lines, width, longest_quoted)
        )
        if row.error is None and width is None:
            width = len(row.fields)
        yield row


class _Lines:
    """A stream of decoded lines that can be put back."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = iter(stream)
        self._again: deque[str] = deque()
        self.number = 0  # of the last line taken

    def take(self) -> str | None:
        """Return the next line; None at the end."""
        if self._again:
            line = self._again.popleft()
        else:
            read = next(self._stream, None)
            if read is None:
                return None
            if self.number == 0:
                read = without_byte_order_marks(read)
            line = read.decode("utf-8", "surrogateescape")
        self.number += 1
        return line

    def put_back(self, lines: list[str]) -> None:
        """Put back the lines taken last."""
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)


def _plain_row(line: str, number: int) -> CsvRow:
    """Parse a row without quotation marks."""
    line = line.rstrip("\r\n")
    if "\r" in line:
        return CsvRow(number, error=_CARRIAGE_RETURN, raw=line)
    return CsvRow(number, line.split(","))


class _NotARowError(Exception):
    """The lines taken so far are not a row."""


def _quoted_row(first: str, lines: _Lines, width: int | None, longest_quoted: int) -> CsvRow:
    start = lines.number
    scan = _Scan(first, lines, width, longest_quoted)
    try:
        return CsvRow(start, scan.fields())
    except _NotARowError as error:
        lines.put_back(scan.more)
        return CsvRow(start, error=str(error), raw=first)


class _Scan:
    """A scanner of one row, field by field; `more` holds the lines it took after the first."""

    def __init__(self, first: str, lines: _Lines, width: int | None, longest_quoted: int) -> None:
        self.line, self.at = first, 0
        self.more: list[str] = []
        self.lines, self.width, self.longest_quoted = lines, width, longest_quoted
        self.start = self.opened = lines.number
        self.swallowed = 0  # characters of the completed lines of the open field

    def fields(self) -> list[str]:
        """Return all fields.

        Raises:
            _NotARowError: the lines are not CSV, or a multi-line row has not as many fields as the header.
        """
        found: list[str] = []
        ended = False
        while not ended:
            quoted = self.line.startswith('"', self.at)
            text, ended = self._quoted() if quoted else self._unquoted()
            found.append(text)
            self._check_width(len(found), ended)
        return found

    def _check_width(self, count: int, ended: bool) -> None:
        """Refuse a wrong number of fields as early as possible, rather than at the end of the file."""
        if self.width is None or not self.more or (count == self.width if ended else count < self.width):
            return
        raise _NotARowError(
            f"{count if ended else f'more than {count}'} fields in lines {self.start} to {self.lines.number}, but the "
            f"header has {self.width}; a quote opened on line {self.start}"
        )

    def _unquoted(self) -> tuple[str, bool]:
        end = self.line.find(",", self.at)
        text = self.line[self.at :].rstrip("\r\n") if end < 0 else self.line[self.at : end]
        if "\r" in text:
            raise _NotARowError(_CARRIAGE_RETURN)
        self.at = end + 1
        return text, end < 0

    def _quoted(self) -> tuple[str, bool]:
        """Return the quoted field that starts here, and whether it ends the row."""
        self.opened, self.swallowed = self.lines.number, 0
        parts: list[str] = []
        self.at += 1
        while (end := self.line.find('"', self.at)) < 0 or self.line.startswith('"', end + 1):
            if end < 0:
                parts.append(self.line[self.at :])
                self._next_line()
            else:  # a doubled mark stands for one
                parts.append(self.line[self.at : end + 1])
                self.at = end + 2
        parts.append(self.line[self.at : end])
        self.at = end + 2
        after = self.line[end + 1 : end + 2]
        if after == ",":
            return "".join(parts), False
        if self.line[end + 1 :].strip("\r\n"):
            raise _NotARowError(
                f"not CSV (text after a closing quote on line {self.lines.number}; the quote opened on line {self.opened})"
            )
        return "".join(parts), True

    def _next_line(self) -> None:
        self.swallowed += len(self.line)
        line = self.lines.take() if self.swallowed <= self.longest_quoted else None
        if line is None:
            within = f" within {self.longest_quoted} characters" if self.swallowed > self.longest_quoted else ""
            raise _NotARowError(f"not CSV (the quote opened on line {self.opened} is not closed{within})")
        self.more.append(line)
        self.line, self.at = line, 0
