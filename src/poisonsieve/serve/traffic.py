"""Traffic of this process: counts since it started, and the latest confidences."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

import numpy as np

from poisonsieve.serve.drift import Drift, drift
from poisonsieve.serve.facts import GuardFacts, histogram
from poisonsieve.serve.settings import ServeSettings
from poisonsieve.verdict import OUTCOMES, Outcome, Tally, Verdict

_DRIFT_AGE_S = 1.0  # minimum interval between computations of drift


#: Old names of two outcomes, which answers and metrics also have for one more version.
OLD_NAMES: dict[Outcome, str] = {"poisoned": "rejected", "not_scored": "unscorable"}


class Traffic:
    """Counts and recent confidences. Belongs to the event loop: no other thread may use it."""

    def __init__(self, facts: GuardFacts, settings: ServeSettings) -> None:
        self.tally = Tally()
        self.since = datetime.now(UTC)
        self._facts = facts
        self._settings = settings
        self._recent: deque[tuple[float, bool]] = deque(maxlen=settings.recent_texts)
        self._drift: tuple[float, Drift] | None = None

    def add(self, verdicts: list[Verdict]) -> None:
        """Count verdicts, and keep their confidences."""
        self.tally.add(verdicts)
        self._recent += [(each.confidence, each.rejected) for each in verdicts if each.confidence is not None]

    def drift(self) -> Drift:
        """Return the drift of the recent confidences; at most a second old."""
        now = time.monotonic()
        if self._drift is None or now - self._drift[0] > _DRIFT_AGE_S:
            recent = np.array([confidence for confidence, _ in self._recent], dtype=np.float64)
            found = drift(
                recent,
                self._facts.calibration,
                min_texts=self._settings.drift_min_texts,
                min_ks=self._settings.drift_min_ks,
            )
            self._drift = (now, found)
        return self._drift[1]

    def to_dict(self, queue_length: int) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        outcomes, edges = self.tally.outcomes, np.array(self._facts.histogram.edges)
        by_verdict = {
            rejected: np.array([confidence for confidence, was in self._recent if was is rejected], dtype=np.float64)
            for rejected in (False, True)
        }
        return {
            **{outcome: outcomes[outcome] for outcome in OUTCOMES},
            **{old: outcomes[outcome] for outcome, old in OLD_NAMES.items()},
            "since": self.since.isoformat(),
            "recent": {
                "edges": edges.tolist(),
                "counts_passed": list(histogram(by_verdict[False], edges).counts),
                "counts_rejected": list(histogram(by_verdict[True], edges).counts),
            },
            "queue_length": queue_length,
            "drift": self.drift().to_dict(),
        }
