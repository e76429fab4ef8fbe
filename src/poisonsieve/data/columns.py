"""Choosing the columns of a table to read, by the names in its header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from poisonsieve.errors import DataError
from poisonsieve.texts import TEXT_COLUMNS

LABEL_COLUMN = "label"
#: 1 for a row with a trigger, 0 for a clean one: a column of OpenBackdoor's files.
POISON_COLUMN = "poison_label"
#: The header of OpenBackdoor's files: pandas numbers unnamed columns and writes its index first.
_OPENBACKDOOR = ["", "0", "1", "2"]
_EXCEL_SEPARATOR = re.compile(r'\s*"?sep=(.?)"?\s*$', re.IGNORECASE | re.DOTALL)
_SEPARATOR_ADVICE = "write it with commas as .csv, or with tabs as .tsv"
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Column names, for data that do not use the default ones.

    Attributes:
        text: column of texts; None for `text` or `sentence`, whichever exists.
        label: column of labels; None for `label`.
        id: column of the caller's row ids; None if there is none.
    """

    text: str | None = None
    label: str | None = None
    id: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The possible names of the text column."""
        return TEXT_COLUMNS if self.text is None else (self.text,)

    @property
    def labels(self) -> str:
        """The name of the label column."""
        return LABEL_COLUMN if self.label is None else self.label

    def required(self) -> dict[str, str]:
        """Return the columns that were named, by option; each must exist."""
        named = {"--text-column": self.text, "--label-column": self.label, "--id-column": self.id}
        return {option: name for option, name in named.items() if name is not None}


AS_USUAL = Columns()


def column_names(header: Sequence[str]) -> list[str]:
    """Return the names in a header row, stripped of white space; give OpenBackdoor's unnamed columns their names."""
    names = [name.strip() for name in header]
    return ["", TEXT_COLUMNS[0], LABEL_COLUMN, POISON_COLUMN] if names == _OPENBACKDOOR else names


def columns_to_read(
    names: Sequence[str], source: str, *, need_label: bool, extra: Sequence[str], columns: Columns = AS_USUAL
) -> list[str]:
    """Choose the columns to read: text, label, id, and `extra`.

    Args:
        names: the result of `column_names`.
        source: name of the source, for messages.
        need_label: require a label column.
        extra: other columns to read if they exist.
        columns: names of the text, label and id columns.

    Raises:
        DataError: the text column, a required label column or a named column is missing, or a name occurs twice.
    """
    named = columns.required()
    wanted = [
        name for name in dict.fromkeys((*columns.texts, columns.labels, *named.values(), *extra)) if name in names
    ]
    for name in wanted:
        if (count := names.count(name)) > 1:
            number = "two" if count == 2 else count
            raise DataError(f"{source}: {number} columns are called {name}; one would go unread")
    listed = f"columns: {', '.join(names)}"
    for option, name in named.items():
        if name not in names and (option != "--label-column" or need_label):
            raise DataError(f"{source}: no column {name!r}, which {option} names{_hint(names)}; {listed}")
    if not any(name in wanted for name in columns.texts):
        raise DataError(f"{source}: no column `text` or `sentence`{_column_advice(names, 'text')}")
    if need_label and columns.labels not in wanted:
        raise DataError(f"{source}: no column `label`{_column_advice(names, 'label')}")
    return wanted


def _column_advice(names: Sequence[str], kind: str) -> str:
    """Say what may be wrong, or how to name the column."""
    listed = f"; columns: {', '.join(names)}"
    if hint := _hint(names):
        return hint + listed
    return f"{listed}; name it with --{kind}-column NAME (in Python: columns=Columns({kind}=NAME))"


def separator_hint(names: Sequence[str]) -> str:
    """Return a hint if the columns seem to use another separator than the format's, else an empty string.

    Args:
        names: the column names as read, or the parts of a line that could not be read.
    """
    known = (*TEXT_COLUMNS, LABEL_COLUMN)
    if (excel := _EXCEL_SEPARATOR.match(names[0] if names else "")) is not None:
        word = _SEPARATORS.get(excel[1])
        instead = f", and its columns are separated by {word}; {_SEPARATOR_ADVICE}" if word else ""
        return f": its first line is Excel's sep=, which is not a row: leave it out{instead}"
    for sign, word in _SEPARATORS.items():
        parts = [_bare(part) for name in names if sign in name for part in name.split(sign)]
        if any(name in parts for name in known):
            return f": its columns are separated by {word}; {_SEPARATOR_ADVICE}"
    return ""


def _hint(names: Sequence[str]) -> str:
    """Say what may be wrong where no column has an expected name."""
    known = (*TEXT_COLUMNS, LABEL_COLUMN)
    quoted = any(name not in known and _bare(name) in known for name in names)
    return separator_hint(names) or (
        ": its column names contain quotation marks (which have no meaning in TSV); remove them, or write it with "
        "commas as .csv"
        if quoted
        else ""
    )


def _bare(name: str) -> str:
    return name.strip().strip("\"'").strip()
