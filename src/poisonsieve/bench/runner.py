"""Runs a grid: every stage once, each kept; what fails is recorded and the rest goes on.

The same command goes on after Ctrl-C, a kill or a failure, and does nothing where nothing is left to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from poisonsieve.bench.checks import check
from poisonsieve.bench.fingerprints import Fingerprints
from poisonsieve.bench.plan import Plan, Stage, make_plan
from poisonsieve.bench.results import Report, Results
from poisonsieve.bench.spec import GridSpec, How, expand, select
from poisonsieve.bench.store import Store
from poisonsieve.progress import TimeLeft

Note = Callable[[str], None]


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
    with TimeLeft("grid", "stages", {stage.key: alike(stage) for stage in todo}, shown=how.progress) as left:
        for stage in plan.stages if how.progress else ():
            if store.finished(stage):
                left.learn(alike(stage), store.run(stage)["seconds"])
        for done in engine.run(todo, store, how):
            left.through(done.stage.key, done.seconds, done.stage.words)
            if done.error is not None:
                note(f"failed: {done.stage.kind} {done.stage.words}: {done.error}")
            if done.error is not None or done.stage.key in last:
                results.write()


def alike(stage: Stage) -> list[str]:
    """What tells stages that take as long, the closest first: kind, tuning and defence; then the kind alone."""
    method = stage.params.get("settings", {}).get("method", "")
    return [f"{stage.kind} {method} {stage.params.get('defense') or ''}", stage.kind]
