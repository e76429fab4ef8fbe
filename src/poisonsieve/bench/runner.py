"""Runs a grid: every stage once, each kept; what fails is recorded and the rest goes on.

The same command goes on after Ctrl-C, a kill or a failure, and does nothing where nothing is left to do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from poisonsieve.bench.checks import check
from poisonsieve.bench.fingerprints import Fingerprints
from poisonsieve.bench.plan import Plan, Stage, make_plan
from poisonsieve.bench.results import Results
from poisonsieve.bench.spec import GridSpec, How, expand, select
from poisonsieve.bench.store import Store
from poisonsieve.progress import progress_bar

if TYPE_CHECKING:
    from poisonsieve.progress import Bar

Note = Callable[[str], None]
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Done:
    """A stage that an engine is through with.

    Attributes:
        stage: which.
        error: why it could not be done; None where it could.
        seconds: how long it took.
    """

    stage: Stage
    error: str | None
    seconds: float


class Engine(Protocol):
    """What does the stages: this process, or a cluster."""

    def run(self, stages: list[Stage], store: Store, how: How) -> Iterator[Done]:
        """Do `stages`, each after those it needs, and say of each when it is through.

        A stage that needs one that failed is not done, and is not yielded.
        """
        ...


class InProcess:
    """One stage after the other, here."""

    def run(self, stages: list[Stage], store: Store, how: How) -> Iterator[Done]:
        """See `Engine`."""
        from poisonsieve.bench.launch import attempt

        failed: set[str] = set()
        for stage in stages:
            if any(needed.key in failed for needed in stage.needs.values()):
                failed.add(stage.key)
                continue
            started = time.perf_counter()
            error = attempt(stage, store, how)
            if error is not None:
                failed.add(stage.key)
            yield Done(stage, error, time.perf_counter() - started)


def run_grid(
    grid: GridSpec,
    name: str,
    out: Path,
    *,
    only: Mapping[str, Collection[str]] | None = None,
    retry_failed: bool = False,
    engine: Engine | None = None,
    how: How | None = None,
    note: Note = lambda text: None,
    report: Report = lambda cell: None,
) -> dict[str, Any]:
    """Run what is not finished of a grid, and write its results.

    Args:
        grid: what to run.
        name: what its results are called in the store.
        out: the store; what is there from other grids is used again.
        only: values by axis; cells that are on none of them are left as they are.
        retry_failed: try again what failed before.
        engine: what does the stages; this process when left out.
        how: how stages are done.
        note: is told what is worth knowing, a line at a time.
        report: is shown every cell once, as soon as it is done or has failed.

    Returns:
        The results file's content; see `poisonsieve.bench.results`.

    Raises:
        ConfigError: a name in the grid is unknown, a model cannot do a tuning, or `only` asks for what is not there.
        OutputError: the store cannot be written to.
    """
    store = Store(out)
    checked = check(grid, store.grid(name) / "checked.json")
    cells = expand(grid)
    wanted = set(select(cells, only or {}))
    prints = Fingerprints(store.root / "fingerprints.json")
    plan = make_plan(grid, cells, checked, prints)
    prints.save()
    results = Results(grid, name, plan, store, report)
    todo = _to_do(plan, [stage for cell, stage in zip(cells, plan.scores, strict=True) if cell in wanted], store)
    if retry_failed:
        for stage in todo:
            store.forget_failure(stage)
    todo = [stage for stage in todo if store.failure(stage) is None]
    if todo:
        for line in checked.deferred:
            note(line)
        _work_off(todo, plan, results, store, engine or InProcess(), how or How(report_to=grid.report_to), note)
    return results.write()


def _to_do(plan: Plan, wanted: list[Stage], store: Store) -> list[Stage]:
    """What is not finished of the wanted cells' stages, in the plan's order; nothing below what is finished."""
    unfinished: set[str] = set()

    def look(stage: Stage) -> None:
        if stage.key not in unfinished and not store.finished(stage):
            unfinished.add(stage.key)
            for needed in stage.needs.values():
                look(needed)

    for stage in wanted:
        look(stage)
    return [stage for stage in plan.stages if stage.key in unfinished]


def _work_off(
    todo: list[Stage], plan: Plan, results: Results, store: Store, engine: Engine, how: How, note: Note
) -> None:
    last = {stage.key for stage in plan.scores}
    results.write()  # so that every cell is in the file from the start, waiting
    with Progress(todo, plan, store, shown=how.progress) as bar:
        for done in engine.run(todo, store, how):
            bar.through(done.stage, done.seconds)
            if done.error is not None:
                note(f"failed: {done.stage.kind} {done.stage.words}: {done.error}")
            if done.error is not None or done.stage.key in last:
                results.write()


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
