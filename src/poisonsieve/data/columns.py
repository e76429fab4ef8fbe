"""Which columns of a table are read, by the names in its header."""

from __future__ import annotations

import re
from collections.abc import Sequence

from poisonsieve.data.records import LABEL_COLUMN
from poisonsieve.errors import DataError
from poisonsieve.texts import TEXT_COLUMNS

#: 1 for a row with a trigger, 0 for a clean one: a column of OpenBackdoor's files.
POISON_COLUMN = "poison_label"
#: What OpenBackdoor's files have for a header: pandas numbers what has no names, and writes its index first.
_OPENBACKDOOR = ["", "0", "1", "2"]
_EXCELS_SIGN = re.compile(r'\s*"?sep=(.?)"?\s*$', re.IGNORECASE | re.DOTALL)
_WAY_OUT = "write it with commas as .csv, or with tabs as .tsv"
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
        raise DataError(f"{source}: no column `text` or `sentence`{_hint(names)}; columns: {', '.join(names)}")
    if need_label and LABEL_COLUMN not in wanted:
        raise DataError(f"{source}: no column `label`{_hint(names)}; columns: {', '.join(names)}")
    return wanted


def separator_hint(names: Sequence[str]) -> str:
    """Says so where another sign than the format's own parts the columns; else nothing.

    Args:
        names: what was read as columns, or the parts of a line that could not be read.
    """
    known = (*TEXT_COLUMNS, LABEL_COLUMN)
    if (told := _EXCELS_SIGN.match(names[0] if names else "")) is not None:
        word = _SEPARATORS.get(told[1])
        instead = f", and its columns are parted by {word}; {_WAY_OUT}" if word else ""
        return f": its first line is Excel's sep=, which is no row: leave it out{instead}"
    for sign, word in _SEPARATORS.items():
        parts = [_bare(part) for name in names if sign in name for part in name.split(sign)]
        if any(name in parts for name in known):
            return f": its columns are parted by {word}; {_WAY_OUT}"
    return ""


def _hint(names: Sequence[str]) -> str:
    """What may be wrong with columns none of which is called as it has to be."""
    known = (*TEXT_COLUMNS, LABEL_COLUMN)
    quoted = any(name not in known and _bare(name) in known for name in names)
    return separator_hint(names) or (
        ": its columns' names hold quotation marks, as they stand (in TSV quotes mean nothing); leave those out, or write "
        "it with commas as .csv"
        if quoted
        else ""
    )


def _bare(name: str) -> str:
    return name.strip().strip("\"'").strip()
