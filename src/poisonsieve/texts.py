"""What a caller hands over as texts, as one list in the caller's order.

Verdicts are matched to texts by position, so texts are put into a list once, at the door, and never looked up in what
was handed over: a pandas Series looks `series[3]` up by its index, not by place, and a generator is empty the second time.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping, Sequence, Set
from typing import Any, Protocol, TypeAlias

from poisonsieve.errors import DataError

#: The column that marks triggered rows, where a data set says which they are.
TRIGGERED = "triggered"
#: The columns texts are read from when none is named.
TEXT_COLUMNS = ("text", "sentence")


class Frame(Protocol):
    """Rows with named columns, as pandas has them."""

    @property
    def columns(self) -> Any:
        """Their names."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns. By this a type checker tells a frame from a Series, which has all attributes in its stubs."""


class DatasetLike(Protocol):
    """Rows with named columns, as `datasets` has them."""

    @property
    def column_names(self) -> Any:
        """Their names."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""


#: Rows with named columns, told by what they have: `datasets` comes without types, so by its class a type checker would
#: take anything for one.
Table: TypeAlias = Frame | DatasetLike


def as_texts(texts: Sequence[str] | Table | Iterable[str], column: str | None = None) -> list[str]:
    """The texts in their order.

    Args:
        texts: strings in a list, tuple, pandas Series, array, generator or anything else that has an order; or a
            `datasets.Dataset` or pandas frame.
        column: where the texts are in a data set or frame. None: `text` or `sentence`, whichever there is.

    Raises:
        DataError: one string, something without an order, no such column, or something else than a string among them.
    """
    if _is_table(texts):
        found = _column(texts, column)
    elif column is not None:
        raise DataError(f"column={column!r} is for a data set or a frame, and the texts are {_named(texts)}")
    else:
        found = _in_order(texts)
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(f"text {index} is {type(text).__name__}, not a string")
    return [str.__str__(text) for text in found]  # plain strings: an array holds strings of numpy's own


def columns_of(data: Any) -> list[str]:
    """Names of the columns of a data set or frame; none of anything else."""
    names = getattr(data, "column_names", getattr(data, "columns", None))
    return [] if names is None else [str(name) for name in names]


def _is_table(texts: Any) -> bool:
    """Whether it has named columns: a data set, or a frame of pandas or of a library like it."""
    return hasattr(texts, "column_names") or hasattr(texts, "columns")


def _column(table: Any, column: str | None) -> list[Any]:
    names = columns_of(table)
    if isinstance(table, Mapping):
        raise DataError(f"this is a set of splits ({', '.join(map(str, table))}); choose one of them")
    wanted = [column] if column is not None else [name for name in TEXT_COLUMNS if name in names]
    if not wanted or wanted[0] not in names:
        asked = f"no column {column!r}" if column is not None else "no column `text` or `sentence`"
        raise DataError(f"{asked}; name the one that holds the texts (column=...): {', '.join(names)}")
    if len(wanted) > 1:
        raise DataError("`text` and `sentence` are both there; one would go unread: name one (column=...)")
    if names.count(wanted[0]) > 1:
        raise DataError(f"{names.count(wanted[0])} columns are called {wanted[0]}; one would go unread")
    if hasattr(table, "__getitem__"):
        return list(table[wanted[0]])
    return [row[wanted[0]] for row in table]  # a data set that streams its rows


def _in_order(texts: Any) -> list[Any]:
    if isinstance(texts, str | bytes | bytearray | Mapping):
        raise DataError(f"texts are one {type(texts).__name__}; give a list of strings")
    if isinstance(texts, Set) and not isinstance(texts, KeysView):
        raise DataError(f"texts are a {type(texts).__name__}, which has no order to give verdicts in; give a list")
    if len(getattr(texts, "shape", (0,))) != 1:
        raise DataError(f"texts are {_named(texts)} of shape {tuple(texts.shape)}; give one dimension of strings")
    try:
        return list(texts)
    except TypeError:
        raise DataError(f"texts are {_named(texts)}; give a list of strings") from None


def _named(texts: Any) -> str:
    return f"one {type(texts).__name__}"
