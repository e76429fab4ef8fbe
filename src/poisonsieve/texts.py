"""Converting a caller's texts to a list in the caller's order.

Verdicts are matched to texts by position, so texts are converted to a list once, on entry. Looking them up in the
original object would fail: a pandas Series looks `series[3]` up by index, not position, and a generator runs only once.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping, Sequence, Set
from typing import Any, Protocol, TypeAlias

from poisonsieve.errors import DataError

#: The column that marks triggered rows, if a data set has one.
TRIGGERED = "triggered"
#: The columns from which texts are read if none is named.
TEXT_COLUMNS = ("text", "sentence")


class Frame(Protocol):
    """Rows with named columns, as pandas has them."""

    @property
    def columns(self) -> Any:
        """Their names."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns. This lets type checkers tell a frame from a Series, whose stubs have all attributes."""


class DatasetLike(Protocol):
    """Rows with named columns, as `datasets` has them."""

    @property
    def column_names(self) -> Any:
        """Their names."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""


#: Rows with named columns, typed structurally: `datasets` has no type hints, so its class would match anything.
Table: TypeAlias = Frame | DatasetLike


def as_texts(texts: Sequence[str] | Table | Iterable[str], column: str | None = None) -> list[str]:
    """Return the texts as a list, in their order.

    Args:
        texts: strings in a list, tuple, pandas Series, array, generator or other ordered iterable; or a
            `datasets.Dataset` or pandas frame.
        column: the text column of a data set or frame; None for `text` or `sentence`, whichever exists.

    Raises:
        DataError: the texts are a single string or unordered, the column is missing, or an item is not a string.
    """
    if _is_table(texts):
        found = _column(texts, column)
    elif column is not None:
        raise DataError(
            f"column={column!r} is for a data set or a frame, and the texts are one {type(texts).__name__}"
        )
    else:
        found = in_order(texts, "texts")
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(f"text {index} is {type(text).__name__}, not a string")
    return [str.__str__(text) for text in found]  # plain strings, since an array has numpy's own


def columns_of(data: Any) -> list[str]:
    """Return the column names of a data set or frame; an empty list for anything else."""
    named = _named_columns(data)
    return [] if named is None else [str(name) for name in named]


def _named_columns(data: Any) -> Any:
    """Return the columns as defined by the type, since an attribute of a Series may be any label of its index."""
    kind = type(data)
    return (
        getattr(data, "column_names" if hasattr(kind, "column_names") else "columns", None)
        if _is_table(data)
        else None
    )


def _is_table(texts: Any) -> bool:
    """Tell whether it has named columns: a data set, or a frame of pandas or a similar library."""
    return hasattr(type(texts), "column_names") or hasattr(type(texts), "columns")


def _column(table: Any, column: str | None) -> list[Any]:
    if isinstance(table, Mapping):
        raise DataError(f"this is a set of splits ({', '.join(map(str, table))}); choose one of them")
    if _named_columns(table) is None:  # a data set that streams its rows, and learns its columns from them
        rows = [row for row in table if isinstance(row, Mapping)]
        names = list(dict.fromkeys(str(key) for row in rows[:1] for key in row))
        return [row.get(_chosen(names, column)) for row in rows]
    name = _chosen(columns_of(table), column)
    try:
        return list(table[name]) if hasattr(table, "__getitem__") else [row[name] for row in table]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the column {name!r} cannot be read from a {type(table).__name__} ({type(error).__name__}); give a list"
        ) from None


def _chosen(names: list[str], column: str | None) -> str:
    """Return the name of the text column."""
    wanted = [column] if column is not None else [name for name in TEXT_COLUMNS if name in names]
    if not wanted or wanted[0] not in names:
        problem = f"no column {column!r}" if column is not None else "no column `text` or `sentence`"
        raise DataError(
            f"{problem}; name the one that holds the texts (column=...): {', '.join(names) or 'there is none'}"
        )
    if len(wanted) > 1:
        raise DataError("`text` and `sentence` are both there; one would go unread: name one (column=...)")
    if names.count(wanted[0]) > 1:
        raise DataError(f"{names.count(wanted[0])} columns are called {wanted[0]}; one would go unread")
    return wanted[0]


def in_order(values: Any, what: str) -> list[Any]:
    """Return ordered values as a list.

    Args:
        values: a list or another ordered iterable.
        what: name of the values, for messages.

    Raises:
        DataError: the values are a single string, are unordered, or have more than one dimension.
    """
    wanted = "a list of strings" if what == "texts" else "a list"
    if isinstance(values, str | bytes | bytearray | Mapping) or _is_table(values):
        raise DataError(f"{what} are one {type(values).__name__}; give {wanted}")
    if isinstance(values, Set) and not isinstance(values, KeysView):
        raise DataError(f"{what} are a {type(values).__name__}, which has no order; give {wanted}")
    if len(getattr(values, "shape", (0,))) != 1:
        raise DataError(f"{what} are one {type(values).__name__} of shape {tuple(values.shape)}; give one dimension")
    try:
        return list(
            values.to_pylist() if hasattr(type(values), "to_pylist") else values
        )  # Arrow has values of its own
    except DataError:
        raise
    except Exception as error:  # whatever a caller's own sequence raises
        reason = "" if isinstance(error, TypeError) else f", which cannot be read ({type(error).__name__})"
        raise DataError(f"{what} are one {type(values).__name__}{reason}; give {wanted}") from None
