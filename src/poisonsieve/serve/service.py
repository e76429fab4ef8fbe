"""The service without HTTP: verdicts on texts, with rejected texts recorded before anybody learns the verdict."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import torch
from sqlalchemy import Engine

from poisonsieve.errors import ConfigError
from poisonsieve.guard import GuardedClassifier
from poisonsieve.models.load import pick_device
from poisonsieve.serve.batching import Batcher
from poisonsieve.serve.explain import effects, leave_out
from poisonsieve.serve.facts import GuardFacts
from poisonsieve.serve.groups import Groups
from poisonsieve.serve.monitoring import Monitoring
from poisonsieve.serve.passages import PassageReader
from poisonsieve.serve.quarantine import Quarantine, record_of
from poisonsieve.serve.settings import ServeSettings
from poisonsieve.serve.traffic import Traffic
from poisonsieve.serve.watch import TrafficWatch
from poisonsieve.serve.writer import NotRecordedError, Writer
from poisonsieve.verdict import Tally, Verdict

log = logging.getLogger("poisonsieve.serve")

_WARM_UP = "a text that warms the model up"


class GuardService:
    """Guard, queue, quarantine and counts together.

    Args:
        guarded: the guard, opened from its folder, and perhaps a victim.
        engine: from `poisonsieve.serve.tables.open_database`.
        settings: limits and timeouts.
        address: where people find the page, for the log.

    Attributes:
        ready: a warm-up inference has succeeded, and the service is not stopping.
    """

    def __init__(
        self,
        guarded: GuardedClassifier,
        engine: Engine,
        settings: ServeSettings | None = None,
        *,
        address: str | None = None,
    ) -> None:
        self.settings = settings or ServeSettings()
        self.facts = GuardFacts.of(guarded)
        self.monitoring = Monitoring(self.facts)
        self.traffic = Traffic(self.facts, self.settings)
        self.quarantine = Quarantine(engine)
        self.groups = Groups(self.quarantine, self.settings)
        self.ready = False
        self._address = address
        self._guarded = guarded
        self._cores = torch.get_num_threads()
        self._writer = Writer(self.quarantine, self.facts.guard_digest, self.settings, self.monitoring)
        self._batcher: Batcher | None = None
        self._warm_up: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self.watch = TrafficWatch(
            guarded.guard,
            self.settings,
            self.monitoring,
            self._record,
            guard_digest=self.facts.guard_digest,
        )
        self.monitoring.watch(lambda: self.queue_length, self.traffic, self.watch)

    @property
    def queue_length(self) -> int:
        """Number of texts waiting or being screened."""
        return 0 if self._batcher is None else self._batcher.queue_length

    @property
    def quarantine_up(self) -> bool:
        """Whether the last transaction succeeded and the database file is where it was opened."""
        return self._writer.up and self.quarantine.in_place

    def failing(self) -> str | None:
        """Return why the process should be restarted; None while it works."""
        if self._batcher is None:
            return "not started"
        if not self._batcher.alive:
            return "the queue has stopped"
        if self._batcher.busy_seconds() > self.settings.stall_s:
            return f"the model has not answered for {self.settings.stall_s:g} s"
        return None

    async def start(self) -> None:
        """Start the threads, and warm up the model in the background."""
        settings = self.settings
        threads = shares(settings.workers, self._cores)
        share = iter(threads)
        self._batcher = Batcher(
            self._guarded,
            max_batch=settings.max_batch_texts,
            max_queue=settings.max_queue_texts,
            max_wait=settings.max_wait_ms / 1000,
            workers=len(threads),
            worker_starts=lambda: torch.set_num_threads(next(share)),
            on_batch=self.monitoring.batch,
            reader=PassageReader.of(self._guarded.guard) if self.watch.off is None else None,
        )
        self._batcher.start()
        self._writer.start()
        self._warm_up = asyncio.create_task(self._warm())
        self._watching = asyncio.create_task(self.watch.run(), name="watch")

    async def stop(self) -> None:
        """Finish and commit what was accepted, and end the threads."""
        self._set_ready(False)
        for task in (self._warm_up, self._watching):
            if task is not None:
                task.cancel()
        if self._batcher is not None:
            await self._batcher.close()
        await asyncio.to_thread(self._writer.close, self.settings.shutdown_timeout_s)
        torch.set_num_threads(self._cores)  # later threads would inherit the value set by a model thread
        self.quarantine.engine.dispose()

    async def screen(self, texts: Sequence[str], *, classify: bool, request_id: str) -> list[Verdict]:
        """Return verdicts on texts, in order, once each rejected text is recorded.

        Args:
            texts: at least one.
            classify: ask the victim about texts that pass.
            request_id: id to store in the records.

        Raises:
            ConfigError: `classify` without a victim.
            QueueFullError, ClosedError: see `Batcher.submit`.
            NotRecordedError: a rejected text could not be recorded.
            TimeoutError: it took longer than the settings allow.
        """
        if classify and self._guarded.victim is None:
            raise ConfigError(
                "there is no victim to classify with; start the service with --victim, or use /v1/screen"
            )
        async with asyncio.timeout(self.settings.request_timeout_s):
            verdicts, passages = await self._batches.submit_watched(texts, classify=classify)
            self._note(verdicts)
            self.watch.note(texts, verdicts, passages, request_id=request_id)
            self.groups.note(texts, verdicts)
            rows = [
                record_of(
                    text,
                    verdict,
                    request_id=request_id,
                    index=index,
                    guard_digest=self.facts.guard_digest,
                    hash_only=self.settings.hash_only,
                    max_chars=self.settings.quarantine_max_chars,
                )
                for index, (text, verdict) in enumerate(zip(texts, verdicts, strict=True))
                if verdict.rejected
            ]
            if rows:
                await self._record(rows)
        return verdicts

    async def explain(self, text: str) -> dict[str, Any]:
        """Return how much a text's confidence depends on each word, see `poisonsieve.serve.explain`.

        It is not counted as traffic.

        Raises:
            QueueFullError, ClosedError, TimeoutError: see `screen`.
        """
        left_out = leave_out(text, self.settings.explain_words)
        async with asyncio.timeout(self.settings.request_timeout_s):
            return effects(left_out, await self._batches.submit(left_out.texts, classify=False))

    @property
    def _batches(self) -> Batcher:
        if self._batcher is None:
            raise RuntimeError("the service has not been started")
        return self._batcher

    def _note(self, verdicts: list[Verdict]) -> None:
        self.traffic.add(verdicts)
        self.monitoring.add(verdicts)
        self._writer.count(Tally().add(verdicts).outcomes)

    async def _record(self, rows: Sequence[dict[str, Any]]) -> None:
        try:
            async with asyncio.timeout(self.settings.commit_timeout_s):
                await asyncio.wrap_future(self._writer.put(rows))
        except TimeoutError:
            raise NotRecordedError from None

    async def _warm(self) -> None:
        classify = self._guarded.victim is not None
        verdict = (await self._batches.submit([_WARM_UP], classify=classify))[0]
        if verdict.outcome == "not_scored":
            log.error("the warm-up inference failed: %s; the service will not become ready", verdict.reason)
            return
        self._set_ready(True)
        where = "" if self._address is None else f": the page is {self._address}/, the endpoints are under /docs"
        log.info("ready%s", where)

    def _set_ready(self, ready: bool) -> None:
        self.ready = ready
        self.monitoring.ready.set(ready)


def shares(workers: int | None, cores: int) -> list[int]:
    """Return the number of torch threads for each of the threads that run the model.

    Args:
        workers: number of threads that run the model. None: two on a CPU, which share its cores, and one on an
            accelerator, which processes a single queue anyway.
        cores: cores to share.
    """
    chosen = workers or (min(2, cores) if pick_device().type == "cpu" else 1)
    return [max(1, cores // chosen + (index < cores % chosen)) for index in range(chosen)]
