"""The watch over the traffic: a campaign of triggered texts gives itself away where a single text does not.

At intervals the latest texts are compared with the guard's calibration rows (`poisonsieve.guard.traffic`), in a thread of
its own. If a part of them stands apart as triggered texts would, an alarm is raised, and those among them that had passed
are recorded in the quarantine. Nothing here loosens a verdict, and none that was answered is changed.

**Repeated tests.** A check is significant at the level ``interval / days``: with a check every ten minutes at most, and one
false alarm in thirty days allowed, at 0.00023. On text like the calibration rows the mean number of false alarms is then at
most what is allowed, however much the checks have in common. A process begins with an interval of waiting, so that
restarts do not add to it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from poisonsieve.errors import ConfigError
from poisonsieve.guard.guard import Guard
from poisonsieve.guard.reference import Reading
from poisonsieve.guard.traffic import ALPHA, Traffic, against, comparable
from poisonsieve.guard.two_sample import PERMUTATIONS
from poisonsieve.serve.monitoring import Monitoring
from poisonsieve.serve.passages import Passage
from poisonsieve.serve.quarantine import record_of
from poisonsieve.serve.settings import ServeSettings
from poisonsieve.serve.window import Seen, Window
from poisonsieve.verdict import Verdict

log = logging.getLogger("poisonsieve.serve")

#: `off`: the guard cannot, or the settings say so. `gathering`: too few texts for a check so far. `quiet`: the latest
#: texts are as the calibration rows. `differs`: they differ, and not as a campaign would. `alarm`: they held a campaign,
#: and no check has found them quiet since.
State = Literal["off", "gathering", "quiet", "differs", "alarm"]

_DAY_S = 86_400.0
_LOOK_EVERY_S = 1.0
_DRIVING = 20  # texts that are named
#: Ranks that a p-value at the level has; with one alone, a single permutation would decide.
_RANKS = 2

Record = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]


@dataclass(frozen=True)
class Check:
    """A comparison of the latest texts.

    Attributes:
        time: when it ended.
        seconds: how long it took.
        found: what it found.
        driving: the texts above the bar that are of the class, the highest first, with their scores.
        passed: how many of the texts of a campaign the guard had passed.
    """

    time: datetime
    seconds: float
    found: Traffic
    driving: tuple[tuple[Seen, float], ...]
    passed: int


class TrafficWatch:
    """Compares the latest texts with the calibration rows. Belongs to the event loop.

    Args:
        guard: the guard in force.
        settings: size of the window, intervals, the rate of false alarms.
        monitoring: counts checks and flags.
        record: commits records to the quarantine.
        guard_digest: for these records.

    Attributes:
        off: why nothing is watched; None if it is.
        level: significance level of a check.
        last: the latest check; None before the first.
        checks: number of checks so far.
        alarm_since: when the alarm was raised; None while there is none.
    """

    def __init__(
        self, guard: Guard, settings: ServeSettings, monitoring: Monitoring, record: Record, *, guard_digest: str
    ) -> None:
        self._guard = guard
        self._settings = settings
        self._monitoring = monitoring
        self._record = record
        self._digest = guard_digest
        self._window = Window(settings.watch_texts, keep_texts=settings.watch_keep_texts)
        self._due = time.monotonic() + settings.watch_interval_s
        self.off = _why_not(guard, settings)
        self.level = level_of(settings)
        self.last: Check | None = None
        self.checks = 0
        self.alarm_since: datetime | None = None

    @property
    def texts(self) -> int:
        """Number of distinct texts in the window."""
        return len(self._window)

    @property
    def state(self) -> State:
        """See `State`."""
        if self.off is not None:
            return "off"
        if self.alarm_since is not None:
            return "alarm"
        if self.last is None:
            return "gathering"
        return "quiet" if self.last.found.finding == "alike" else "differs"

    def note(
        self,
        texts: Sequence[str],
        verdicts: Sequence[Verdict],
        passages: Sequence[Passage | None],
        *,
        request_id: str,
    ) -> None:
        """Take note of the texts of a request, and of what the guard's network said of them."""
        if self.off is None:
            self._window.add(texts, verdicts, passages, request_id=request_id)

    async def run(self) -> None:
        """Check whenever a check is due, until cancelled."""
        if self.off is not None:
            log.info("the traffic is not watched: %s", self.off)
            return
        while True:
            await asyncio.sleep(min(_LOOK_EVERY_S, self._settings.watch_interval_s))
            if self._window.fresh >= self._settings.watch_min_texts and time.monotonic() >= self._due:
                try:
                    await self.check()
                except Exception as error:  # the watch goes on, and requests are answered meanwhile
                    log.error("a check of the traffic failed: %s", type(error).__name__)

    async def check(self) -> Check:
        """Compare the texts of the window now, raise or end the alarm, and record what had passed."""
        self._due = time.monotonic() + self._settings.watch_interval_s
        self._window.fresh = 0
        seen, started = self._window.texts(), time.monotonic()
        found = await _in_thread(lambda: self._compare(seen))
        check, before = _check_of(found, seen, time.monotonic() - started), self.last
        self.last = check
        self._monitoring.checked(found.finding, check.seconds)
        self._say(check, before)
        try:
            await self._flag([text for text, flagged in zip(seen, found.flagged.tolist(), strict=True) if flagged])
        finally:
            self.checks += 1  # who sees another number finds the flags too
        return check

    def _compare(self, seen: Sequence[Seen]) -> Traffic:
        _, reference = comparable(self._guard)
        reading = Reading(
            np.stack([each.passage.states for each in seen]),
            np.array([each.passage.label for each in seen], dtype=np.int64),
            np.ones(len(seen), dtype=bool),
        )
        with threadpool_limits(1, user_api="blas"):  # the other cores belong to the model
            return against(
                reference,
                reading,
                self._guard.threshold_,
                seed=self.checks,
                permutations=permutations_of(self.level),
                alpha=self.level,
            )

    def _say(self, check: Check, before: Check | None) -> None:
        """Raise or end the alarm, and log what was not so before."""
        found, says = check.found, said(check.found, self._guard.label_names)
        if found.finding == "campaign" and self.alarm_since is None:
            self.alarm_since = check.time
            self._monitoring.alarms.inc()
            log.warning("ALARM: %s", says)
        elif found.finding == "alike" and self.alarm_since is not None:
            self.alarm_since = None
            log.info("the alarm is over: %s", says)
        elif found.finding != "alike" and (before is None or before.found.finding != found.finding):
            log.warning("%s", says)

    async def _flag(self, campaign: Sequence[Seen]) -> None:
        """Record those texts of a campaign that had passed, each once."""
        passed = [each for each in campaign if not each.verdict.rejected and not each.flagged]
        if not passed:
            return
        await self._record([self._row(each) for each in passed])
        for each in passed:
            each.flagged = True
        self._monitoring.flagged.inc(len(passed))
        log.warning("%d texts that had passed are now in the quarantine, for what they share", len(passed))

    def _row(self, seen: Seen) -> dict[str, Any]:
        row = record_of(
            seen.text or "",
            seen.verdict.of_a_campaign(),
            request_id=seen.request_id,
            index=seen.index,
            guard_digest=self._digest,
            hash_only=seen.text is None,
            max_chars=self._settings.quarantine_max_chars,
        )
        at = datetime.fromtimestamp(seen.time_us / 1e6, UTC).isoformat(timespec="seconds")
        reason = f"passed at {at}; later found to stand apart together with other texts"
        return {**row, "text_sha256": seen.sha256, "text_chars": seen.chars, "reason": reason}

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict: state, settings in force, and the latest check."""
        return {
            "state": self.state,
            "off": self.off,
            "alarm_since": None if self.alarm_since is None else self.alarm_since.isoformat(),
            "texts": self.texts,
            "min_texts": self._settings.watch_min_texts,
            "interval_s": self._settings.watch_interval_s,
            "false_alarm_days": self._settings.watch_false_alarm_days,
            "level": self.level,
            "checks": self.checks,
            "last": None if self.last is None else self._shown(self.last),
        }

    def _shown(self, check: Check) -> dict[str, Any]:
        names = self._guard.label_names
        return {
            **check.found.to_dict(names),
            "says": said(check.found, names),
            "time": check.time.isoformat(),
            "seconds": check.seconds,
            "passed": check.passed,
            "driving": [
                {
                    "text_sha256": seen.sha256,
                    "request_id": seen.request_id,
                    "text_index": seen.index,
                    "outcome": seen.verdict.outcome,
                    "score": score,
                }
                for seen, score in check.driving
            ],
        }


def level_of(settings: ServeSettings) -> float:
    """Return the significance level of a check at which false alarms are as rare as the settings ask."""
    return min(ALPHA, settings.watch_interval_s / (_DAY_S * settings.watch_false_alarm_days))


def permutations_of(level: float) -> int:
    """Return the number of permutations that a p-value at this level takes."""
    return max(PERMUTATIONS, math.ceil(_RANKS / level) - 1)


def said(found: Traffic, label_names: Sequence[str]) -> str:
    """Return what a check found, in a sentence or two; no text is quoted."""
    if found.finding != "campaign":
        return found.says(label_names)
    name = label_names[found.label or 0]
    return (
        f"Of the latest {found.texts:,} texts {found.above:,} stand apart from clean text, and the model takes "
        f"{found.above_of_label:,} of these for {name!r}, as it would texts with a trigger (p = {found.p_value:.3g})."
    )


def _why_not(guard: Guard, settings: ServeSettings) -> str | None:
    if not settings.watch:
        return "the setting watch is off"
    try:
        comparable(guard)
    except ConfigError as error:
        return str(error)
    return None


def _check_of(found: Traffic, seen: Sequence[Seen], seconds: float) -> Check:
    places = np.flatnonzero(found.flagged)
    ranked = places[np.argsort(-found.scores[places], kind="stable")].tolist()
    driving = tuple((seen[place], float(found.scores[place])) for place in ranked[:_DRIVING])
    passed = sum(not seen[place].verdict.rejected for place in ranked)
    return Check(datetime.now(UTC), seconds, found, driving, passed)


async def _in_thread(compute: Callable[[], Traffic]) -> Traffic:
    """Compute in a thread of its own, which the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Traffic] = loop.create_future()

    def settle(found: Traffic | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        elif found is not None:
            done.set_result(found)

    def work() -> None:
        found, failed = None, None
        try:
            found = compute()
        except Exception as error:
            failed = error
        try:
            loop.call_soon_threadsafe(settle, found, failed)
        except RuntimeError:
            log.debug("a check was not over when the service stopped")

    threading.Thread(target=work, name="watch", daemon=True).start()
    return await done
