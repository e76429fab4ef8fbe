"""CSV rows, each with the line it starts on, in which an unclosed quote costs one line and not the rest of the file.

A quotation mark at the start of a field opens a quoted field, which may hold line breaks. When it is a stray one
(``5 inch`` written with a mark), everything up to the next mark, or to the end of the file, looks like one field. So a
row that goes over several lines is kept as lines until it is known to be one: if it is not CSV, or has another number
of fields than the header, its first line is in error and the lines after it are read again on their own.

What counts as CSV is what Python's `csv` module reads with ``strict=True``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from poisonsieve.data.records import without_byte_order_marks

#: Characters on the lines of one quoted field, after which it is taken for an unclosed quote.
LONGEST_QUOTED = 2**26
_CARRIAGE_RETURN = "not CSV (a carriage return outside quotes)"


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row, or what is wrong with the line it would start on.

    Attributes:
        line: where it starts, from 1.
        fields: bytes that are not UTF-8 are lone surrogates in them; empty when `error` is set.
        error: why it is no row; None if it is one.
        raw: the line it starts on, when `error` is set.
    """

    line: int
    fields: list[str] = field(default_factory=list)
    error: str | None = None
    raw: str = ""


def csv_rows(stream: Iterable[bytes], longest_quoted: int = LONGEST_QUOTED) -> Iterator[CsvRow]:
    """Stream the rows of a CSV file. Every line that is not blank belongs to exactly one of them.

    Args:
        stream: lines with their line breaks. Byte order marks on the first one are left out.
        longest_quoted: how many characters a quoted field may go on for over several lines.
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
    """Decoded lines that can be put back."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = iter(stream)
        self._again: deque[str] = deque()
        self.number = 0  # of the line that was taken last

    def take(self) -> str | None:
        """The next line; None at the end."""
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
        """Give the lines that were taken last once more."""
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)


def _plain_row(line: str, number: int) -> CsvRow:
    """A row without a quotation mark."""
    line = line.rstrip("\r\n")
    if "\r" in line:
        return CsvRow(number, error=_CARRIAGE_RETURN, raw=line)
    return CsvRow(number, line.split(","))


class _NotARowError(Exception):
    """What was taken so far is no row."""


def _quoted_row(first: str, lines: _Lines, width: int | None, longest_quoted: int) -> CsvRow:
    start = lines.number
    scan = _Scan(first, lines, width, longest_quoted)
    try:
        return CsvRow(start, scan.fields())
    except _NotARowError as error:
        lines.put_back(scan.more)
        return CsvRow(start, error=str(error), raw=first)


class _Scan:
    """Reads one row, field by field; `more` holds the lines after the first that it took."""

    def __init__(self, first: str, lines: _Lines, width: int | None, longest_quoted: int) -> None:
        self.line, self.at = first, 0
        self.more: list[str] = []
        self.lines, self.width, self.longest_quoted = lines, width, longest_quoted
        self.start = self.opened = lines.number
        self.swallowed = 0  # characters of the lines that the open field has gone over

    def fields(self) -> list[str]:
        """All fields.

        Raises:
            _NotARowError: they are not CSV, or on several lines and not as many as the header's.
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
        """Tell as soon as it is known: a row that cannot be right must not go through the rest of the file."""
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
        """The field whose opening quote comes next, and whether the row ends with it."""
        self.opened, self.swallowed = self.lines.number, 0
        parts: list[str] = []
        self.at += 1
        while (end := self.line.find('"', self.at)) < 0 or self.line.startswith('"', end + 1):
            if end < 0:
                parts.append(self.line[self.at :])
                self._next_line()
            else:  # two marks stand for one
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
