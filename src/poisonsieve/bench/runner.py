"""Run a grid: every stage once, with its result kept. A failure is recorded, and the rest goes on.

The same command continues after Ctrl-C, a kill or a failure, and does nothing if nothing is left to do.
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
from poisonsieve.bench.spec import GridSpec, RunOptions, expand, select
from poisonsieve.bench.store import Store
from poisonsieve.progress import TimeLeft

Note = Callable[[str], None]


@dataclass(frozen=True)
class Done:
    """A stage that an engine has finished or given up.

    Attributes:
        stage: the stage.
        error: why it failed; None if it succeeded.
        seconds: time it took.
    """

    stage: Stage
    error: str | None
    seconds: float


class Engine(Protocol):
    """Runs stages, in this process or on a cluster."""

    def run(self, stages: list[Stage], store: Store, options: RunOptions) -> Iterator[Done]:
        """Run `stages`, each after those it needs, and yield each when it has ended.

        A stage that needs a failed one is neither run nor yielded.
        """
        ...


class InProcess:
    """Runs one stage after the other in this process."""

    def run(self, stages: list[Stage], store: Store, options: RunOptions) -> Iterator[Done]:
        """See `Engine`."""
        from poisonsieve.bench.launch import attempt

        failed: set[str] = set()
        for stage in stages:
            if any(needed.key in failed for needed in stage.needs.values()):
                failed.add(stage.key)
                continue
            started = time.perf_counter()
            error = attempt(stage, store, options)
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
    options: RunOptions | None = None,
    note: Note = lambda text: None,
    report: Report = lambda cell: None,
) -> dict[str, Any]:
    """Run the unfinished stages of a grid, and write its results.

    Args:
        grid: grid to run.
        name: name of its results in the store.
        out: the store; results of other grids in it are reused.
        only: values by axis; other cells are left as they are.
        retry_failed: try stages again that failed before.
        engine: runs the stages; None for this process.
        options: options for running stages.
        note: called with one line of information for the user at a time.
        report: called once with every cell, as soon as it is done or has failed.

    Returns:
        The content of the results file; see `poisonsieve.bench.results`.

    Raises:
        ConfigError: a name in the grid or in `only` is unknown, or a model does not support a tuning.
        OutputError: the store cannot be written to.
    """
    store = Store(out)
    checked = check(grid, store.grid(name) / "checked.json")
    cells = expand(grid)
    wanted = set(select(cells, only or {}))
    fingerprints = Fingerprints(store.root / "fingerprints.json")
    plan = make_plan(grid, cells, checked, fingerprints)
    fingerprints.save()
    results = Results(grid, name, plan, store, report)
    todo = _to_do(plan, [stage for cell, stage in zip(cells, plan.scores, strict=True) if cell in wanted], store)
    if retry_failed:
        for stage in todo:
            store.forget_failure(stage)
    todo = [stage for stage in todo if store.failure(stage) is None]
    if todo:
        for line in checked.deferred:
            note(line)
        options = options or RunOptions(report_to=grid.report_to)
        _run_stages(todo, plan, results, store, engine or InProcess(), options, note)
    return results.write()


def _to_do(plan: Plan, wanted: list[Stage], store: Store) -> list[Stage]:
    """Return the unfinished stages of the wanted cells, in the plan's order; none below a finished stage."""
    unfinished: set[str] = set()

    def look(stage: Stage) -> None:
        if stage.key not in unfinished and not store.finished(stage):
            unfinished.add(stage.key)
            for needed in stage.needs.values():
                look(needed)

    for stage in wanted:
        look(stage)
    return [stage for stage in plan.stages if stage.key in unfinished]


def _run_stages(
    todo: list[Stage], plan: Plan, results: Results, store: Store, engine: Engine, options: RunOptions, note: Note
) -> None:
    last = {stage.key for stage in plan.scores}
    results.write()  # lists every cell from the start, as waiting
    kinds = {stage.key: timing_kinds(stage) for stage in todo}
    noted: set[str] = set()
    with TimeLeft("grid", "stages", kinds, shown=options.progress) as left:
        for stage in plan.stages if options.progress else ():
            if store.finished(stage):
                left.learn(timing_kinds(stage), store.run(stage)["seconds"])
        for done in engine.run(todo, store, options):
            left.finished(done.stage.key, done.seconds, done.stage.title)
            if done.error is not None and done.error not in noted:
                noted.add(done.error)  # once, however many stages it stops
                note(f"failed: {done.stage.kind} {done.stage.title}: {done.error}")
            if done.error is not None or done.stage.key in last:
                results.write()


def timing_kinds(stage: Stage) -> list[str]:
    """Return what identifies stages that take as long, closest first: kind with tuning and defence; then the kind."""
    method = stage.params.get("settings", {}).get("method", "")
    return [f"{stage.kind} {method} {stage.params.get('defense') or ''}", stage.kind]
