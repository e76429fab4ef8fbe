"""Run a grid on a Ray cluster: every stage is a task with its resources, and results go through the same store.

Ray decides where and when tasks run; there is no scheduler here. The store must be a folder that every node sees
under the same path, and every node needs this package. If a node is lost, Ray runs its tasks again elsewhere, and
training resumes from its last complete epoch, which is also in the store.
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
from poisonsieve.bench.spec import RunOptions
from poisonsieve.bench.store import Store
from poisonsieve.bench.work import LIGHT
from poisonsieve.cluster import connect, require_room

#: How often a task is run again after its node or worker was lost; an error of the stage itself is not retried.
_LOST_NODES = 10


class RayEngine:
    """Runs stages as Ray tasks; see `poisonsieve.bench.runner.Engine`.

    Args:
        resources: resources that a stage requests.
        address: address of a running cluster, ``auto`` for the one on this machine; None starts a temporary one.
    """

    def __init__(self, resources: Resources, address: str | None = None) -> None:
        self.resources, self.address = resources, address

    def run(self, stages: list[Stage], store: Store, options: RunOptions) -> Iterator[Done]:
        """See `Engine`; yields stages in the order in which they end.

        Raises:
            UnsupportedError: Ray is not installed.
            ConfigError: there is no cluster at the address, or none of its nodes has the resources of a stage.
        """
        ray = connect(self.address, progress=options.progress)
        try:
            require_room(ray, self.resources.cpus, self.resources.gpus)
            yield from self._work(ray, stages, store, options.model_copy(update={"progress": False}))
        finally:
            ray.shutdown()

    def _work(self, ray: Any, stages: list[Stage], store: Store, options: RunOptions) -> Iterator[Done]:
        submitted: dict[str, Any] = {}
        stage_of: dict[Any, Stage] = {}
        for stage in stages:  # needed ones first, so that later tasks can take references to their results
            needed = [submitted[entry.key] for entry in stage.needs.values() if entry.key in submitted]
            task = ray.remote(_attempt).options(
                name=f"{stage.kind} {stage.title}",
                num_cpus=self.resources.cpus,
                num_gpus=0 if stage.kind in LIGHT else self.resources.gpus,
                max_retries=_LOST_NODES,
                retry_exceptions=False,
            )
            submitted[stage.key] = task.remote(stage, str(store.root), options, *needed)
            stage_of[submitted[stage.key]] = stage
        waiting = list(stage_of)
        try:
            while waiting:
                (ready,), waiting = ray.wait(waiting, num_returns=1)
                done = _result(ray, ready, stage_of[ready], store)
                if done is not None:
                    yield done
        finally:
            for reference in waiting:  # after Ctrl-C: running tasks are cancelled, finished results stay
                ray.cancel(reference, force=True)


def _attempt(
    stage: Stage, root: str, options: RunOptions, *needed: tuple[str | None, float] | None
) -> tuple[str | None, float] | None:
    """Run a stage as a task; return an error or None, and the seconds. None: something it needs has failed."""
    if any(result is None or result[0] is not None for result in needed):
        return None
    started = time.perf_counter()
    error = attempt(stage, Store(Path(root)), options)
    return error, time.perf_counter() - started


def _result(ray: Any, reference: Any, stage: Stage, store: Store) -> Done | None:
    try:
        result = ray.get(reference)
    except ray.exceptions.RayError as error:  # out of retries, or cancelled by the cluster
        return Done(stage, store.record_failure(stage, error), 0.0)
    return None if result is None else Done(stage, result[0], result[1])
