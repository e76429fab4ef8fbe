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
        raise DataError(
            f"column={column!r} is for a data set or a frame, and the texts are one {type(texts).__name__}"
        )
    else:
        found = in_order(texts, "texts")
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(f"text {index} is {type(text).__name__}, not a string")
    return [str.__str__(text) for text in found]  # plain strings: an array holds strings of numpy's own


def columns_of(data: Any) -> list[str]:
    """Names of the columns of a data set or frame; none of anything else."""
    named = _named_columns(data)
    return [] if named is None else [str(name) for name in named]


def _named_columns(data: Any) -> Any:
    """What its type calls columns. Of a Series, an attribute may be any label of its index."""
    kind = type(data)
    return (
        getattr(data, "column_names" if hasattr(kind, "column_names") else "columns", None)
        if _is_table(data)
        else None
    )


def _is_table(texts: Any) -> bool:
    """Whether it has named columns: a data set, or a frame of pandas or of a library like it."""
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
    """The column that holds the texts."""
    wanted = [column] if column is not None else [name for name in TEXT_COLUMNS if name in names]
    if not wanted or wanted[0] not in names:
        asked = f"no column {column!r}" if column is not None else "no column `text` or `sentence`"
        raise DataError(
            f"{asked}; name the one that holds the texts (column=...): {', '.join(names) or 'there is none'}"
        )
    if len(wanted) > 1:
        raise DataError("`text` and `sentence` are both there; one would go unread: name one (column=...)")
    if names.count(wanted[0]) > 1:
        raise DataError(f"{names.count(wanted[0])} columns are called {wanted[0]}; one would go unread")
    return wanted[0]


def in_order(values: Any, what: str) -> list[Any]:
    """Values in the order in which they stand, as one list.

    Args:
        values: a list, or anything else that has an order.
        what: what to call them in a message.

    Raises:
        DataError: they are one string, have no order, or more than one dimension.
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
