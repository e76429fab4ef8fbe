"""Which columns of a table are read, by the names in its header."""

from __future__ import annotations

from collections.abc import Sequence

from poisonsieve.data.records import LABEL_COLUMN
from poisonsieve.errors import DataError
from poisonsieve.texts import TEXT_COLUMNS

#: 1 for a row with a trigger, 0 for a clean one: a column of OpenBackdoor's files.
POISON_COLUMN = "poison_label"
#: What OpenBackdoor's files have for a header: pandas numbers what has no names, and writes its index first.
_OPENBACKDOOR = ["", "0", "1", "2"]
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def column_names(header: Sequence[str]) -> list[str]:
    """The names in a header row, without white space around them."""
    names = [name.strip() for name in header]
    return ["", TEXT_COLUMNS[0], LABEL_COLUMN, POISON_COLUMN] if names == _OPENBACKDOOR else names


def columns_to_read(names: Sequence[str], source: str, *, need_label: bool, extra: Sequence[str]) -> list[str]:
    """Those of `names` that are read: the text, the label, and `extra`.

    Args:
        names: as `column_names` gives them.
        source: what the columns are of, for messages.
        need_label: insist on a label column.
        extra: other columns to read where they are there.

    Raises:
        DataError: there is no text column, no label column where one is needed, or two columns of one name.
    """
    wanted = [name for name in dict.fromkeys((*TEXT_COLUMNS, LABEL_COLUMN, *extra)) if name in names]
    for name in wanted:
        if (count := names.count(name)) > 1:
            number = "two" if count == 2 else count
            raise DataError(f"{source}: {number} columns are called {name}; one would go unread")
    if not any(name in wanted for name in TEXT_COLUMNS):
        raise DataError(f"{source}: no column `text` or `sentence`{_parted(names)}; columns: {', '.join(names)}")
    if need_label and LABEL_COLUMN not in wanted:
        raise DataError(f"{source}: no column `label`{_parted(names)}; columns: {', '.join(names)}")
    return wanted


def _parted(names: Sequence[str]) -> str:
    """Says so where another sign than the format's own parts the columns."""
    known = (*TEXT_COLUMNS, LABEL_COLUMN)
    for sign, word in _SEPARATORS.items():
        parts = [part.strip().strip('"') for name in names if sign in name for part in name.split(sign)]
        if any(name in parts for name in known):
            return f": its columns are parted by {word}; write it with commas as .csv, or with tabs as .tsv"
    return ""
