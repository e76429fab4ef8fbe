"""Progress bars on stderr, in a terminal of any size."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from tqdm import tqdm

from poisonsieve.waiting import end_waiting

if TYPE_CHECKING:
    from typing import TypeAlias

    Bar: TypeAlias = tqdm[NoReturn]

T = TypeVar("T")
_COLUMNS, _LINES = 80, 24
_REDRAWN = 0.5  # seconds between two drawings of a step
_heard: ContextVar[Callable[[int], None] | None] = ContextVar("poisonsieve_rows_read", default=None)


def tell(rows: int) -> None:
    """Say that so many rows were read or trained on; whoever measures the work around hears it."""
    if (heard := _heard.get()) is not None:
        heard(rows)


def progress_bar(label: str | None, unit: str, *, total: int | None = None, layout: str | None = None) -> Bar:
    """Return a bar that the caller advances; it is not drawn without a label. `layout` is tqdm's ``bar_format``."""
    if label is not None:
        end_waiting()
    return tqdm(desc=label, total=total, unit=unit, bar_format=layout, disable=label is None, **_size())


def shown(items: Iterable[T], label: str | None, unit: str, *, total: int | None = None) -> Iterator[T]:
    """Iterate over items, with a progress bar if there is a label.

    Args:
        items: the items.
        label: text before the bar.
        unit: name of one item.
        total: number of items, if `items` has no length.
    """
    if label is not None:
        end_waiting()
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
        layout = f"{{desc}}: {{n_fmt}}/{{total_fmt}} {unit} [{{elapsed}} gone{{postfix}}]"
        self._bar = progress_bar(label if shown else None, f" {unit}", total=len(todo), layout=layout)

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


@dataclass(frozen=True)
class Step:
    """A step of a long task, as it is expected.

    Attributes:
        name: what it does, for people.
        kind: steps of one kind take equally long for a row.
        rows: number of rows that it reads or trains on.
        cost: of one of its rows, in any unit that all steps share; it counts until a step of the kind was measured.
    """

    name: str
    kind: str
    rows: int
    cost: float = 1.0


class StepsLeft:
    """A progress bar that names the running step, with a time left by the rows that were read so far.

    A step that reads no row, because its outcome was kept, says nothing of the rate.

    Args:
        label: text before the bar.
        todo: the steps by key, in their order.
        shown: draw the bar.
        clock: returns seconds.

    Attributes:
        seconds: what each step that has ended took, by key.
    """

    def __init__(
        self, label: str, todo: Mapping[str, Step], *, shown: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label, self._todo, self._clock = label, dict(todo), clock
        self._steps, self.seconds = len(todo), dict[str, float]()
        self._read = 0  # rows, by the running step
        # Seconds and rows of all steps, the running one too, by kind; and what those rows cost.
        self._spent, self._done, self._cost = defaultdict[str, float](float), Counter[str](), 0.0
        self._told, self._drawn = clock(), -_REDRAWN
        layout = "{desc} [{elapsed} gone{postfix}]"
        self._bar = progress_bar(label if shown else None, "step", total=len(todo), layout=layout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    @contextlib.contextmanager
    def step(self, key: str) -> Iterator[None]:
        """Do one step inside; `seconds[key]` is then what it took."""
        step, started = self._todo[key], self._clock()
        self._read, self._told = 0, started
        self._draw(step, at_once=True)
        token = _heard.set(lambda rows: self._tell(step, rows))
        try:
            yield
        finally:
            _heard.reset(token)
        del self._todo[key]
        self._read = 0
        self.seconds[key] = self._clock() - started

    def expect_none(self, key: str) -> None:
        """Expect no row of a step to come: its outcome was kept."""
        self._todo[key] = replace(self._todo[key], rows=0)

    def left(self) -> float | None:
        """Estimate the seconds that are left; None before any row was read."""
        if not self._cost:
            return None
        overall = sum(self._spent.values()) / self._cost
        rows = [(step, step.rows) for step in self._todo.values()]
        if rows:  # the first is the one that runs
            rows[0] = rows[0][0], max(rows[0][1] - self._read, 0)
        return sum(
            count * (self._spent[step.kind] / self._done[step.kind] if self._done[step.kind] else step.cost * overall)
            for step, count in rows
        )

    def _tell(self, step: Step, rows: int) -> None:
        now = self._clock()
        self._spent[step.kind] += now - self._told
        self._told = now
        self._done[step.kind] += rows
        self._cost += step.cost * rows
        self._read += rows
        self._draw(step)

    def _draw(self, step: Step, *, at_once: bool = False) -> None:
        if not at_once and self._clock() - self._drawn < _REDRAWN:
            return
        self._drawn = self._clock()
        number = self._steps - len(self._todo) + 1
        share = f" {min(self._read / step.rows, 0.99):.0%}" if self._read and step.rows else ""
        self._bar.set_description_str(f"{self._label}: {number} of {self._steps}, {step.name}{share}", refresh=False)
        left = self.left()
        self._bar.set_postfix_str(
            "" if left is None else f"about {timedelta(seconds=round(left))} left", refresh=False
        )
        self._bar.refresh()


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
