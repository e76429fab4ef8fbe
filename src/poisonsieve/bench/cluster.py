"""A grid on a Ray cluster: every stage a task with its resources, results through the same store.

Ray decides where and when; there is no scheduler here. The store has to be a folder that every node sees under the same
path, and every node needs this package. A node that is lost costs what it was at work on: Ray runs those tasks again
elsewhere, and training goes on from its last whole epoch, which is in the store too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poisonsieve.bench.entries import Resources
from poisonsieve.bench.launch import attempt
from poisonsieve.bench.plan import Stage
from poisonsieve.bench.runner import Done
from poisonsieve.bench.spec import How
from poisonsieve.bench.store import Store
from poisonsieve.bench.work import LIGHT
from poisonsieve.cluster import connect, require_room

#: How often a task is run again when its node or worker was lost; an error of the stage itself is never run again.
_LOST_NODES = 10


class RayEngine:
    """Stages as Ray tasks; see `poisonsieve.bench.runner.Engine`.

    Args:
        resources: what a stage asks for.
        address: of a running cluster, ``auto`` for the one on this machine; None starts one here and ends it again.
    """

    def __init__(self, resources: Resources, address: str | None = None) -> None:
        self.resources, self.address = resources, address

    def run(self, stages: list[Stage], store: Store, how: How) -> Iterator[Done]:
        """See `Engine`; stages come in the order in which they are through.

        Raises:
            UnsupportedError: Ray is not installed.
            ConfigError: there is no cluster at the address, or none of its nodes has what a stage asks for.
        """
        ray = connect(self.address, progress=how.progress)
        try:
            require_room(ray, self.resources.cpus, self.resources.gpus)
            yield from self._work(ray, stages, store, how.model_copy(update={"progress": False}))
        finally:
            ray.shutdown()

    def _work(self, ray: Any, stages: list[Stage], store: Store, how: How) -> Iterator[Done]:
        submitted: dict[str, Any] = {}
        stage_of: dict[Any, Stage] = {}
        for stage in stages:  # needed ones first, so that their results can be handed on as references
            needed = [submitted[entry.key] for entry in stage.needs.values() if entry.key in submitted]
            task = ray.remote(_attempt).options(
                name=f"{stage.kind} {stage.words}",
                num_cpus=self.resources.cpus,
                num_gpus=0 if stage.kind in LIGHT else self.resources.gpus,
                max_retries=_LOST_NODES,
                retry_exceptions=False,
            )
            submitted[stage.key] = task.remote(stage, str(store.root), how, *needed)
            stage_of[submitted[stage.key]] = stage
        waiting = list(stage_of)
        try:
            while waiting:
                (ready,), waiting = ray.wait(waiting, num_returns=1)
                done = _result(ray, ready, stage_of[ready], store)
                if done is not None:
                    yield done
        finally:
            for reference in waiting:  # Ctrl-C: what is at work is let go of, what is finished stays
                ray.cancel(reference, force=True)


def _attempt(
    stage: Stage, root: str, how: How, *needed: tuple[str | None, float] | None
) -> tuple[str | None, float] | None:
    """The task: an error or None, and the seconds; None where something it needs could not be done."""
    if any(result is None or result[0] is not None for result in needed):
        return None
    started = time.perf_counter()
    error = attempt(stage, Store(Path(root)), how)
    return error, time.perf_counter() - started


def _result(ray: Any, reference: Any, stage: Stage, store: Store) -> Done | None:
    try:
        result = ray.get(reference)
    except ray.exceptions.RayError as error:  # lost more often than it was run again, or cut off by the cluster
        return Done(stage, store.record_failure(stage, error), 0.0)
    return None if result is None else Done(stage, result[0], result[1])
