"""Progress bars on stderr, in a terminal of any size."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tqdm import tqdm

if TYPE_CHECKING:
    from typing import TypeAlias

    Bar: TypeAlias = tqdm[NoReturn]

T = TypeVar("T")
_COLUMNS, _LINES = 80, 24


def progress_bar(label: str | None, unit: str, *, total: int | None = None) -> Bar:
    """A bar that the caller moves on; none is drawn without a label."""
    return tqdm(desc=label, total=total, unit=unit, disable=label is None, **_size())


def shown(items: Iterable[T], label: str | None, unit: str, *, total: int | None = None) -> Iterator[T]:
    """The items one by one, under a bar where there is a label.

    Args:
        items: what is gone through.
        label: stands before the bar.
        unit: what one item is.
        total: how many there are, where `items` has no length.
    """
    return iter(tqdm(items, desc=label, total=total, unit=unit, disable=label is None, **_size()))


def _size() -> dict[str, Any]:
    """How large tqdm takes the terminal for: as large as it is, but for one that says it has no columns or no lines.

    Terminals of editors, of CI and of containers may say so, and tqdm draws nothing in them.
    """
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):  # no terminal
        return {"dynamic_ncols": True}
    if columns and lines:
        return {"dynamic_ncols": True}
    return {"ncols": columns or _COLUMNS, "nrows": lines or _LINES}
