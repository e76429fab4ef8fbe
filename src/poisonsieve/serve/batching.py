"""Gather the texts of many clients into batches for the threads that run the model.

The texts of all requests join one queue. If the model is idle, the first text waits a few milliseconds for others to
join its batch; while the model works, a batch gathers by itself. The queue is bounded in texts, and requests that do
not fit are refused at once, so that memory and waiting times stay bounded under any load.

On a CPU, several threads score a batch each, on their own share of the cores. With all cores on one batch, every
layer would wait for the slowest core, and beside a server one of them is always late.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import cast

from poisonsieve.guard import GuardedClassifier
from poisonsieve.serve.passages import Passage, PassageReader
from poisonsieve.verdict import Failure, Verdict

log = logging.getLogger("poisonsieve.serve")


class QueueFullError(Exception):
    """There is no room for these texts at the moment.

    Attributes:
        retry_after: seconds after which there probably will be.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class ClosedError(Exception):
    """The service is stopping and accepts no more texts."""


@dataclass(slots=True)
class _Job:
    """The texts of one request, and the number of them that still lack a verdict."""

    texts: list[str]
    classify: bool
    watched: bool
    done: asyncio.Future[list[Verdict]]
    verdicts: list[Verdict | None] = field(default_factory=list)
    passages: list[Passage | None] = field(default_factory=list)
    taken: int = 0
    open: int = 0

    def __post_init__(self) -> None:
        self.verdicts = [None] * len(self.texts)
        self.passages = [None] * len(self.texts)
        self.open = len(self.texts)

    def set(self, index: int, verdict: Verdict, passage: Passage | None) -> None:
        self.verdicts[index] = verdict
        self.passages[index] = passage
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result([verdict for verdict in self.verdicts if verdict is not None])

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


_Item = tuple[_Job, int]


@dataclass(frozen=True, slots=True)
class _Running:
    """A batch being scored."""

    texts: int
    started: float


class Batcher:
    """One queue, one gathering task, and a few threads that run the model.

    Args:
        guarded: guard, and perhaps victim; used by the threads only.
        max_batch: maximum number of texts in a batch.
        max_queue: maximum number of texts that are waiting or being scored.
        max_wait: seconds that the first text of a batch waits for others.
        workers: number of threads, each of which scores its own batch.
        worker_starts: called in each thread before its first batch.
        on_batch: called with the number of texts and the seconds of each batch.
        reader: reads the states of watched texts; None to read none.
    """

    def __init__(
        self,
        guarded: GuardedClassifier,
        *,
        max_batch: int,
        max_queue: int,
        max_wait: float,
        workers: int = 1,
        worker_starts: Callable[[], None] = lambda: None,
        on_batch: Callable[[int, float], None] = lambda texts, seconds: None,
        reader: PassageReader | None = None,
    ) -> None:
        self._guarded = guarded
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._max_wait = max_wait
        self._on_batch = on_batch
        self._reader = reader
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._workers = workers
        self._running: dict[asyncio.Task[None], _Running] = {}
        self._seconds_per_text = 0.0
        self._arrived = asyncio.Event()
        self._freed = asyncio.Event()
        self._closed = False
        self._broken = False
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="model", initializer=worker_starts)
        self._task: asyncio.Task[None] | None = None

    @property
    def queue_length(self) -> int:
        """Number of texts that are waiting or being scored."""
        return self._waiting + sum(running.texts for running in self._running.values())

    @property
    def alive(self) -> bool:
        """Whether the gathering task is running and has threads for its batches."""
        return self._task is not None and not self._task.done() and not self._broken

    def busy_seconds(self) -> float:
        """Return how long the oldest running batch has been running; 0 if there is none."""
        return max((time.monotonic() - running.started for running in self._running.values()), default=0.0)

    def start(self) -> None:
        """Start taking texts off the queue. Call it in the running event loop."""
        self._task = asyncio.create_task(self._gather(), name="gather")

    async def close(self) -> None:
        """Accept no more texts, finish the accepted ones, and end the threads."""
        self._closed = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._threads.shutdown(wait=False)

    async def submit(self, texts: Sequence[str], *, classify: bool) -> list[Verdict]:
        """Return the texts' verdicts, in order. If the caller stops waiting, texts still in the queue are dropped.

        Args:
            texts: at least one.
            classify: ask the victim about texts that pass.

        Raises:
            QueueFullError: there is no room.
            ClosedError: the service is stopping.
            Exception: no thread could score them, so there is no verdict on any of them.
        """
        return (await self._submit(texts, classify=classify, watched=False))[0]

    async def submit_watched(
        self, texts: Sequence[str], *, classify: bool
    ) -> tuple[list[Verdict], list[Passage | None]]:
        """Return the texts' verdicts as `submit` does, and what the guard's network said of them; None where unknown."""
        return await self._submit(texts, classify=classify, watched=True)

    async def _submit(
        self, texts: Sequence[str], *, classify: bool, watched: bool
    ) -> tuple[list[Verdict], list[Passage | None]]:
        if self._closed:
            raise ClosedError
        if self.queue_length + len(texts) > self._max_queue:
            raise QueueFullError(self._retry_after())
        job = _Job(list(texts), classify, watched, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._waiting += len(job.texts)
        self._arrived.set()
        return await job.done, job.passages

    def _retry_after(self) -> int:
        return min(60, max(1, math.ceil(self.queue_length * self._seconds_per_text)))

    async def _gather(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._waiting and not self._closed and self._max_wait and not self._running:
                await self._wait_for_more()
            while batch := await self._next():
                task = asyncio.create_task(self._run(batch))
                self._running[task] = _Running(len(batch), time.monotonic())
                await asyncio.sleep(0)  # let answers out and new texts in before gathering the next batch
            if self._closed and not self._waiting:
                if self._running:
                    await asyncio.wait(self._running)
                return

    async def _next(self) -> list[_Item]:
        """Return the next batch when a thread is free; idle threads share the waiting texts."""
        while self._waiting and len(self._running) == self._workers:
            self._freed.clear()
            await self._freed.wait()
        idle = self._workers - len(self._running)
        return self._take(min(self._max_batch, math.ceil(self._waiting / max(1, idle))))

    async def _run(self, batch: list[_Item]) -> None:
        started = time.monotonic()
        judged: list[tuple[Verdict, Passage | None]] = []
        failure: Exception | None = None
        try:
            judged = await asyncio.get_running_loop().run_in_executor(self._threads, self._judged, batch)
        except Exception as error:  # failures of texts are in their verdicts; here no thread was available
            log.error("%d texts could not be scored: %s", len(batch), type(error).__name__)
            failure = error
            self._broken = isinstance(error, BrokenExecutor)
        else:
            self._account(len(batch), time.monotonic() - started)
        del self._running[cast("asyncio.Task[None]", asyncio.current_task())]
        self._freed.set()
        for place, (job, index) in enumerate(batch):
            if failure is None:
                job.set(index, *judged[place])
            else:
                job.fail(failure)

    async def _wait_for_more(self) -> None:
        """Wait until a batch is full, or the first text has waited long enough."""
        until = time.monotonic() + self._max_wait
        while self._waiting < self._max_batch and not self._closed:
            left = until - time.monotonic()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return
            self._arrived.clear()

    def _take(self, most: int) -> list[_Item]:
        """Take up to `most` texts in order of arrival; texts that nobody waits for any more are dropped."""
        batch: list[_Item] = []
        while self._jobs and len(batch) < most:
            job = self._jobs[0]
            left = len(job.texts) - job.taken
            count = left if job.done.done() else min(left, most - len(batch))
            if not job.done.done():
                batch.extend((job, index) for index in range(job.taken, job.taken + count))
            job.taken += count
            self._waiting -= count
            if job.taken == len(job.texts):
                self._jobs.popleft()
        return batch

    def _account(self, texts: int, seconds: float) -> None:
        each = seconds / texts / self._workers
        self._seconds_per_text = each if not self._seconds_per_text else 0.8 * self._seconds_per_text + 0.2 * each
        self._on_batch(texts, seconds)

    def _judged(self, batch: list[_Item]) -> list[tuple[Verdict, Passage | None]]:
        """Judge a batch in a model thread, and read the states of its watched texts. Never raises."""
        watched = [place for place, (job, _) in enumerate(batch) if job.watched]
        passages: list[Passage | None] = [None] * len(batch)
        if self._reader is None or not watched:
            return list(zip(self._verdicts(batch), passages, strict=True))
        texts = [batch[place][0].texts[batch[place][1]] for place in watched]
        with self._reader.hearing(texts) as heard:
            verdicts = self._verdicts(batch)
        for place, passage in zip(watched, self._reader.passages(texts, heard), strict=True):
            passages[place] = passage
        return list(zip(verdicts, passages, strict=True))

    def _verdicts(self, batch: list[_Item]) -> list[Verdict]:
        """Judge a batch in a model thread. Never raises: exactly those texts that cannot be judged are rejected."""
        texts = [job.texts[index] for job, index in batch]
        if self._guarded.one_pass:  # the same pass gives verdict and answer, requested or not
            screened = self._each(len(texts), lambda chosen: self._guarded.screen([texts[i] for i in chosen]))
            return [
                verdict if job.classify else verdict.unanswered()
                for verdict, (job, _) in zip(screened, batch, strict=True)
            ]
        verdicts = self._each(len(texts), lambda chosen: self._guarded.judge([texts[i] for i in chosen]))
        to_classify = [i for i, (job, _) in enumerate(batch) if job.classify and not verdicts[i].rejected]

        def answer(chosen: Sequence[int]) -> list[Verdict]:
            return self._guarded.answer(
                [texts[to_classify[i]] for i in chosen], [verdicts[to_classify[i]] for i in chosen]
            )

        for index, verdict in zip(to_classify, self._each(len(to_classify), answer), strict=True):
            verdicts[index] = verdict
        return verdicts

    def _each(self, count: int, compute: Callable[[Sequence[int]], list[Verdict]]) -> list[Verdict]:
        """Return `compute` of all indices together or, if that fails, of each one alone."""
        if not count:
            return []
        try:
            return compute(range(count))
        except Exception as error:
            log.error("%d texts failed together: %s", count, type(error).__name__)
            return [self._alone(index, compute) for index in range(count)]

    def _alone(self, index: int, compute: Callable[[Sequence[int]], list[Verdict]]) -> Verdict:
        try:
            return compute([index])[0]
        except Exception as error:
            # Keep only the type: the message could quote the text, and reasons are stored and logged.
            failure = Failure("exception", f"model failed: {type(error).__name__}")
            return Verdict.not_scored(failure, gamma=self._guarded.guard.threshold_.gamma)
