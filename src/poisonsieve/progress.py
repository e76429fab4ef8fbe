"""Progress bars on stderr, in a terminal of any size."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from tqdm import tqdm

if TYPE_CHECKING:
    from typing import TypeAlias

    Bar: TypeAlias = tqdm[NoReturn]

T = TypeVar("T")
_COLUMNS, _LINES = 80, 24


def progress_bar(label: str | None, unit: str, *, total: int | None = None) -> Bar:
    """Return a bar that the caller advances; it is not drawn without a label."""
    return tqdm(desc=label, total=total, unit=unit, disable=label is None, **_size())


def shown(items: Iterable[T], label: str | None, unit: str, *, total: int | None = None) -> Iterator[T]:
    """Iterate over items, with a progress bar if there is a label.

    Args:
        items: the items.
        label: text before the bar.
        unit: name of one item.
        total: number of items, if `items` has no length.
    """
    return iter(tqdm(items, desc=label, total=total, unit=unit, disable=label is None, **_size()))


class TimeLeft:
    """A progress bar over pieces of work, with an estimate of the time left.

    A piece is expected to take as long as earlier pieces of its closest kind, in this run or before; if there were
    none, the mean of all.

    Args:
        label: text before the bar.
        unit: name of the pieces.
        todo: the remaining pieces: by key, the kinds that each belongs to, closest first.
        shown: draw the bar.
    """

    def __init__(self, label: str, unit: str, todo: Mapping[str, Sequence[str]], *, shown: bool) -> None:
        self._left = dict(todo)
        self._took: dict[str, list[float]] = {}
        self._bar = progress_bar(label if shown else None, f" {unit}", total=len(todo))
        self._bar.bar_format = f"{{desc}}: {{n_fmt}}/{{total_fmt}} {unit} [{{elapsed}} gone{{postfix}}]"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def learn(self, kinds: Sequence[str], seconds: float) -> None:
        """Record that a piece of these kinds took `seconds`."""
        for kind in kinds:
            self._took.setdefault(kind, []).append(seconds)

    def finished(self, key: str, seconds: float, name: str) -> None:
        """Count one piece as finished; `name` is shown in the bar."""
        self.learn(self._left.pop(key), seconds)
        left = timedelta(seconds=round(self.seconds() or 0))
        self._bar.set_postfix_str(f"{left} left, last: {name}", refresh=False)
        self._bar.update()

    def seconds(self) -> float | None:
        """Estimate the seconds that the remaining pieces take one after the other; None before any was seen."""
        seen = [seconds for took in self._took.values() for seconds in took]
        if not seen:
            return None
        known = [
            next((self._took[kind] for kind in kinds if kind in self._took), seen) for kinds in self._left.values()
        ]
        return sum(map(statistics.fmean, known))


def _size() -> dict[str, Any]:
    """Return tqdm's size options: the terminal's own size, or a default for one that reports no columns or lines.

    Terminals of editors, CI and containers may do so, and tqdm would draw nothing in them.
    """
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):  # no terminal
        return {"dynamic_ncols": True}
    if columns and lines:
        return {"dynamic_ncols": True}
    return {"ncols": columns or _COLUMNS, "nrows": lines or _LINES}
