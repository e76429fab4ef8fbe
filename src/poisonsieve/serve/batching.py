"""Texts of many clients, gathered into batches for the one thread that owns the model.

A request's texts join one queue. When the model is idle, the first text waits a few milliseconds for company; while the
model works, company gathers by itself. The queue is bounded in texts: what does not fit is refused at once, so memory
and waiting times stay bounded whatever comes in.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from poisonsieve.guard import GuardedClassifier, Verdict

log = logging.getLogger("poisonsieve.serve")

_LONGER, _FEW_CHARACTERS = 1.3, 10  # how much longer a text may be than another beside it


class QueueFullError(Exception):
    """There is no room for these texts now.

    Attributes:
        retry_after: seconds after which there probably is.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class ClosedError(Exception):
    """The service is stopping and takes nothing more."""


@dataclass(slots=True)
class _Job:
    """The texts of one request, and how many of them are still without a verdict."""

    texts: list[str]
    classify: bool
    done: asyncio.Future[list[Verdict]]
    verdicts: list[Verdict | None] = field(default_factory=list)
    taken: int = 0
    open: int = 0

    def __post_init__(self) -> None:
        self.verdicts = [None] * len(self.texts)
        self.open = len(self.texts)

    def set(self, index: int, verdict: Verdict) -> None:
        self.verdicts[index] = verdict
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result([verdict for verdict in self.verdicts if verdict is not None])


_Item = tuple[_Job, int]


class Batcher:
    """One queue, one gathering task, one thread with the model.

    Args:
        guarded: guard and perhaps victim; only the thread touches it.
        max_batch: texts taken off the queue together.
        max_group: texts of a forward pass.
        max_queue: texts that wait or are being scored.
        max_wait: seconds the first text of a batch waits for company.
        on_batch: called with the texts and the seconds of each batch.
    """

    def __init__(
        self,
        guarded: GuardedClassifier,
        *,
        max_batch: int,
        max_group: int,
        max_queue: int,
        max_wait: float,
        on_batch: Callable[[int, float], None] = lambda texts, seconds: None,
    ) -> None:
        self._guarded = guarded
        self._max_batch = max_batch
        self._max_group = max_group
        self._max_queue = max_queue
        self._max_wait = max_wait
        self._on_batch = on_batch
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._running = 0
        self._batch_started: float | None = None
        self._seconds_per_text = 0.0
        self._arrived = asyncio.Event()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    @property
    def queue_length(self) -> int:
        """Texts that wait or are being scored."""
        return self._waiting + self._running

    @property
    def alive(self) -> bool:
        """The gathering task runs."""
        return self._task is not None and not self._task.done()

    def busy_seconds(self) -> float:
        """How long the batch that is being scored has been at it; 0 when none is."""
        return 0.0 if self._batch_started is None else time.monotonic() - self._batch_started

    def start(self) -> None:
        """Begin to take texts off the queue. Call it in the running event loop."""
        self._task = asyncio.create_task(self._gather(), name="gather")

    async def close(self) -> None:
        """Take nothing more, finish what was accepted, and end the thread."""
        self._closed = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=False)

    async def submit(self, texts: Sequence[str], *, classify: bool) -> list[Verdict]:
        """Verdicts on the texts, in order. If the caller stops waiting, texts that still wait are dropped.

        Args:
            texts: at least one.
            classify: ask the victim about those that pass.

        Raises:
            QueueFullError: there is no room.
            ClosedError: the service is stopping.
        """
        if self._closed:
            raise ClosedError
        if self.queue_length + len(texts) > self._max_queue:
            raise QueueFullError(self._retry_after())
        job = _Job(list(texts), classify, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._waiting += len(job.texts)
        self._arrived.set()
        return await job.done

    def _retry_after(self) -> int:
        return min(60, max(1, math.ceil(self.queue_length * self._seconds_per_text)))

    async def _gather(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._waiting and not self._closed and self._max_wait:
                await self._for_company()
            while batch := self._take():
                started = self._batch_started = time.monotonic()
                self._running = len(batch)
                verdicts = await loop.run_in_executor(self._thread, self._verdicts, batch)
                self._batch_started = None
                self._running = 0
                self._account(len(batch), time.monotonic() - started)
                for (job, index), verdict in zip(batch, verdicts, strict=True):
                    job.set(index, verdict)
                await asyncio.sleep(0)  # let answers out, and new texts in, before the next batch is made up
            if self._closed and not self._waiting:
                return

    async def _for_company(self) -> None:
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

    def _take(self) -> list[_Item]:
        """The next batch, in the order of arrival; texts nobody waits for any more are dropped."""
        batch: list[_Item] = []
        while self._jobs and len(batch) < self._max_batch:
            job = self._jobs[0]
            left = len(job.texts) - job.taken
            count = left if job.done.done() else min(left, self._max_batch - len(batch))
            if not job.done.done():
                batch.extend((job, index) for index in range(job.taken, job.taken + count))
            job.taken += count
            self._waiting -= count
            if job.taken == len(job.texts):
                self._jobs.popleft()
        return batch

    def _account(self, texts: int, seconds: float) -> None:
        each = seconds / texts
        self._seconds_per_text = each if not self._seconds_per_text else 0.8 * self._seconds_per_text + 0.2 * each
        self._on_batch(texts, seconds)

    def _verdicts(self, batch: list[_Item]) -> list[Verdict]:
        """In the model's thread. Never raises: what cannot be judged is rejected, and so is only that."""
        texts = [job.texts[index] for job, index in batch]
        classify = [job.classify for job, _ in batch]
        verdicts: dict[int, Verdict] = {}
        for group in groups_of_like_length(texts, self._max_group):
            found = self._group([texts[index] for index in group], [classify[index] for index in group])
            verdicts.update(zip(group, found, strict=True))
        return [verdicts[index] for index in range(len(texts))]

    def _group(self, texts: list[str], classify: list[bool]) -> list[Verdict]:
        try:
            return self._screen(texts, classify)
        except Exception as error:
            log.error("%d texts failed together: %s", len(texts), type(error).__name__)
            return [self._alone(text, wanted) for text, wanted in zip(texts, classify, strict=True)]

    def _alone(self, text: str, classify: bool) -> Verdict:
        try:
            return self._screen([text], [classify])[0]
        except Exception as error:
            # The type alone: the message could quote the text, and reasons are stored and logged.
            return Verdict(
                rejected=True,
                reason=f"model failed: {type(error).__name__}",
                confidence=None,
                gamma=self._guarded.guard.threshold_.gamma,
                truncated=False,
            )

    def _screen(self, texts: list[str], classify: list[bool]) -> list[Verdict]:
        verdicts = self._guarded.judge(texts)
        chosen = [index for index, wanted in enumerate(classify) if wanted]
        if chosen:
            answers = self._guarded.answer([texts[i] for i in chosen], [verdicts[i] for i in chosen])
            for index, answer in zip(chosen, answers, strict=True):
                verdicts[index] = answer
        return verdicts


def groups_of_like_length(texts: Sequence[str], most: int) -> list[list[int]]:
    """Indices of texts that are to share a forward pass: at most `most`, none much longer than another.

    A text costs as much as the longest beside it, and a processor gains nothing from a large batch that is half padding.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(texts)), key=lambda index: -len(texts[index])):
        group = groups[-1] if groups else []
        if not group or len(group) == most or len(texts[group[0]]) > _LONGER * len(texts[index]) + _FEW_CHARACTERS:
            groups.append([index])
        else:
            group.append(index)
    return groups
