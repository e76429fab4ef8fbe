"""Which columns of a table are read, by the names in its header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from poisonsieve.errors import DataError
from poisonsieve.texts import TEXT_COLUMNS

LABEL_COLUMN = "label"
#: 1 for a row with a trigger, 0 for a clean one: a column of OpenBackdoor's files.
POISON_COLUMN = "poison_label"
#: What OpenBackdoor's files have for a header: pandas numbers what has no names, and writes its index first.
_OPENBACKDOOR = ["", "0", "1", "2"]
_EXCELS_SIGN = re.compile(r'\s*"?sep=(.?)"?\s*$', re.IGNORECASE | re.DOTALL)
_WAY_OUT = "write it with commas as .csv, or with tabs as .tsv"
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what, for data whose columns are not called as usual.

    Attributes:
        text: None: `text` or `sentence`, whichever there is.
        label: None: `label`.
        id: what the caller knows a row by; None: nothing.
    """

    text: str | None = None
    label: str | None = None
    id: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The names that a column of texts may have."""
        return TEXT_COLUMNS if self.text is None else (self.text,)

    @property
    def labels(self) -> str:
        """The name of the column of labels."""
        return LABEL_COLUMN if self.label is None else self.label

    def required(self) -> dict[str, str]:
        """The columns that were named, by the option that names them: each has to be there."""
        named = {"--text-column": self.text, "--label-column": self.label, "--id-column": self.id}
        return {option: name for option, name in named.items() if name is not None}


AS_USUAL = Columns()


def column_names(header: Sequence[str]) -> list[str]:
    """The names in a header row, without white space around them."""
    names = [name.strip() for name in header]
    return ["", TEXT_COLUMNS[0], LABEL_COLUMN, POISON_COLUMN] if names == _OPENBACKDOOR else names


def columns_to_read(
    names: Sequence[str], source: str, *, need_label: bool, extra: Sequence[str], columns: Columns = AS_USUAL
) -> list[str]:
    """Those of `names` that are read: the text, the label, the id, and `extra`.

    Args:
        names: as `column_names` gives them.
        source: what the columns are of, for messages.
        need_label: insist on a label column.
        extra: other columns to read where they are there.
        columns: what text, label and id are called.

    Raises:
        DataError: there is no text column, no label column where one is needed, none that was named, or two columns of
            one name.
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
        raise DataError(f"{source}: no column `text` or `sentence`{_otherwise(names, 'text')}")
    if need_label and columns.labels not in wanted:
        raise DataError(f"{source}: no column `label`{_otherwise(names, 'label')}")
    return wanted


def _otherwise(names: Sequence[str], kind: str) -> str:
    """What may be wrong, or how to name the column."""
    listed = f"; columns: {', '.join(names)}"
    if hint := _hint(names):
        return hint + listed
    return f"{listed}; say which it is with --{kind}-column NAME (in Python: columns=Columns({kind}=NAME))"


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
