"""One thread that commits the records of many requests together, before their answers are sent.

A commit waits for the disk, so all records that arrive during one commit share the next. The counts of screened texts
are written in the same transaction, so that no record is ever ahead of them.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from poisonsieve.errors import QuarantineError
from poisonsieve.serve.monitoring import Monitoring
from poisonsieve.serve.quarantine import Quarantine
from poisonsieve.serve.settings import ServeSettings
from poisonsieve.serve.tables import cause
from poisonsieve.verdict import Outcome

log = logging.getLogger("poisonsieve.serve")

_MOST_ROWS = 512  # in one transaction


class NotRecordedError(Exception):
    """The records could not be committed, so the rejections must not be answered."""


@dataclass(slots=True)
class _Entry:
    rows: Sequence[Mapping[str, Any]]
    done: Future[None] = field(default_factory=Future)
    awaited: bool = False

    def take(self) -> None:
        """Make the future uncancellable; a record is committed even if nobody waits for it any more."""
        self.awaited = self.done.set_running_or_notify_cancel()


class Writer:
    """Commits records and counts to the quarantine, and deletes old records.

    Args:
        quarantine: the quarantine.
        guard_digest: the guard that the counts belong to.
        settings: intervals and limits.
        monitoring: counts commits and deletions.
    """

    def __init__(
        self, quarantine: Quarantine, guard_digest: str, settings: ServeSettings, monitoring: Monitoring
    ) -> None:
        self._quarantine = quarantine
        self._digest = guard_digest
        self._settings = settings
        self._monitoring = monitoring
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._counts: Counter[Outcome] = Counter()
        self._lock = threading.Lock()
        self._retained = 0.0
        self.up = True
        self._thread = threading.Thread(target=self._run, name="quarantine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._monitoring.quarantine_up.set(1)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Commit everything submitted, and end the thread; give up after `timeout` seconds."""
        self._entries.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            log.error("the quarantine did not finish within %.0f s", timeout)

    def count(self, numbers: Mapping[Outcome, int]) -> None:
        """Add to the counts, which are written with the next records, or soon without any."""
        with self._lock:
            self._counts.update(numbers)

    def put(self, rows: Sequence[Mapping[str, Any]]) -> Future[None]:
        """Submit records. The future is done when they are committed, and fails with `NotRecordedError` otherwise."""
        entry = _Entry(rows)
        self._entries.put(entry)
        return entry.done

    def _run(self) -> None:
        going_on = True
        while going_on:
            entries, going_on = self._next()
            try:
                self._write(entries)
                if time.monotonic() - self._retained > self._settings.retention_interval_s:
                    self._retain()
            except Exception as error:  # keep the thread alive, since every later rejection waits for it
                log.error("the quarantine failed: %s", type(error).__name__)
                _fail(entries)

    def _next(self) -> tuple[list[_Entry], bool]:
        """Return all waiting entries, once there is one or it is time to write counts."""
        entries: list[_Entry] = []
        with contextlib.suppress(queue.Empty):
            entry = self._entries.get(timeout=self._settings.flush_interval_s)
            while entry is not None:
                entry.take()
                entries.append(entry)
                if sum(len(each.rows) for each in entries) >= _MOST_ROWS:
                    return entries, True
                entry = self._entries.get_nowait()
            return entries, False
        return entries, True

    def _write(self, entries: list[_Entry]) -> None:
        rows = [row for entry in entries for row in entry.rows]
        with self._lock:
            numbers, self._counts = self._counts, Counter()
        if not rows and not numbers and self.up and self._quarantine.in_place:
            return
        started = time.monotonic()
        try:
            self._quarantine.add(rows, {self._digest: numbers} if numbers else {})
        except (SQLAlchemyError, QuarantineError) as error:
            self.count(numbers)
            self._failed(error)
            _fail(entries)
            return
        self._monitoring.commits.labels("committed").inc()
        self._monitoring.records.inc(len(rows))
        self._monitoring.commit_seconds.observe(time.monotonic() - started)
        if not self.up:
            log.warning("the quarantine can be written again")
        self._set_up(True)
        for entry in entries:
            if entry.awaited:
                entry.done.set_result(None)

    def _failed(self, error: Exception) -> None:
        self._monitoring.commits.labels("failed").inc()
        if self.up:
            log.error("the quarantine cannot be written: %s", cause(error))
        self._set_up(False)

    def _set_up(self, up: bool) -> None:
        self.up = up
        self._monitoring.quarantine_up.set(up)

    def _retain(self) -> None:
        self._retained = time.monotonic()
        settings = self._settings
        try:
            deleted = self._quarantine.retain(
                max_records=settings.quarantine_max_records, max_days=settings.quarantine_max_days
            )
        except (SQLAlchemyError, QuarantineError) as error:
            log.error("old records could not be deleted: %s", cause(error))
            return
        self._monitoring.deleted.inc(deleted)


def _fail(entries: Sequence[_Entry]) -> None:
    for entry in entries:
        if entry.awaited and not entry.done.done():
            entry.done.set_exception(NotRecordedError())
