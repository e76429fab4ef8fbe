"""How far a grid is, and how long it will take: from the seconds that stages of the same kind took."""

from __future__ import annotations

import statistics
from types import TracebackType
from typing import TYPE_CHECKING, Self

from poisonsieve.bench.plan import Plan, Stage
from poisonsieve.bench.store import Store
from poisonsieve.progress import progress_bar

if TYPE_CHECKING:
    from poisonsieve.progress import Bar


class Progress:
    """A bar over stages with the time left.

    A stage is taken to need what stages of its kind with the same tuning or defence needed, in this run or before; of its
    kind, where there was none such; the mean of all, where there was not even that.

    Args:
        todo: the stages that are left.
        plan: the grid's stages; what is finished of them says how long such stages take.
        store: where the finished ones are.
        shown: draw the bar on stderr.
    """

    def __init__(self, todo: list[Stage], plan: Plan, store: Store, *, shown: bool) -> None:
        self._left = {stage.key: stage for stage in todo}
        self._took: dict[str, list[float]] = {}
        for stage in plan.stages:
            if shown and stage.key not in self._left and store.finished(stage):
                self._learn(stage, store.run(stage)["seconds"])
        self._shown = shown
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if self._shown:
            self._bar = progress_bar("grid", " stages", total=len(self._left))
            self._bar.bar_format = "{desc}: {n_fmt}/{total_fmt} stages [{elapsed} gone{postfix}]"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def through(self, stage: Stage, seconds: float) -> None:
        """One stage less."""
        self._left.pop(stage.key, None)
        self._learn(stage, seconds)
        if self._bar is not None:
            left = self.seconds_left()
            self._bar.set_postfix_str(
                "" if left is None else f"{_clock(left)} left, last: {stage.words}", refresh=False
            )
            self._bar.update()

    def seconds_left(self) -> float | None:
        """What the stages that are left will take, one after the other; None as long as none was seen."""
        seen = [seconds for took in self._took.values() for seconds in took]
        if not seen:
            return None
        return sum(self._expected(stage, statistics.fmean(seen)) for stage in self._left.values())

    def _learn(self, stage: Stage, seconds: float) -> None:
        for key in _alike(stage):
            self._took.setdefault(key, []).append(seconds)

    def _expected(self, stage: Stage, otherwise: float) -> float:
        for key in _alike(stage):
            if key in self._took:
                return statistics.fmean(self._took[key])
        return otherwise


def _alike(stage: Stage) -> list[str]:
    """What tells stages that take as long, the closest first."""
    method = stage.params.get("settings", {}).get("method", "")
    defense = stage.params.get("defense") or ""
    return [f"{stage.kind} {method} {defense}", stage.kind]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
