"""Facts about a guard for its users: digest, threshold, and the distribution of its calibration confidences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from poisonsieve.guard import GuardedClassifier

BINS = 30


@dataclass(frozen=True)
class Histogram:
    """Counts between edges.

    Attributes:
        edges: n + 1 increasing numbers.
        counts: n counts; a value at the last edge is in the last bin.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"edges": list(self.edges), "counts": list(self.counts)}


@dataclass(frozen=True)
class GuardFacts:
    """A guard's properties.

    Attributes:
        defense: the detector's name.
        gamma: threshold; higher confidences are rejected.
        rule: how gamma was found, see `poisonsieve.thresholds.Threshold`.
        frr: the requested false-rejection rate; None if gamma was fixed.
        frr_confidence: confidence that the rate is kept; None if it is kept on average only, or gamma was fixed.
        label_names: classes of the guarded model.
        guard_digest: sha256 over all files of the guard that affect a verdict, gamma included.
        victim: whether there is a victim, so that texts can be classified.
        score_range: lowest and highest possible confidence; None for an open end.
        calibration: confidences of the clean held-out rows, sorted.
        histogram: histogram of `calibration`.
    """

    defense: str
    gamma: float
    rule: str
    frr: float | None
    frr_confidence: float | None
    label_names: tuple[str, ...]
    guard_digest: str
    victim: bool
    score_range: tuple[float | None, float | None]
    calibration: np.ndarray
    histogram: Histogram

    @classmethod
    def of(cls, guarded: GuardedClassifier) -> GuardFacts:
        """Return the facts about a guard that was opened from a folder.

        Raises:
            CheckpointError: a file of the folder is missing or damaged.
        """
        guard = guarded.guard
        threshold = guard.threshold_
        low, high = guard.detector.score_range
        calibration = guard.calibration_.scores
        return cls(
            defense=guard.detector.name,
            gamma=threshold.gamma,
            rule=threshold.rule,
            frr=threshold.frr,
            frr_confidence=threshold.frr_confidence,
            label_names=tuple(guard.label_names),
            guard_digest=guard.digest,
            victim=guarded.victim is not None,
            score_range=(low if np.isfinite(low) else None, high if np.isfinite(high) else None),
            calibration=calibration,
            histogram=histogram(calibration, edges_for(calibration, threshold.gamma, (low, high))),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict, without the single calibration confidences."""
        return {
            "defense": self.defense,
            "gamma": self.gamma,
            "rule": self.rule,
            "frr": self.frr,
            "frr_confidence": self.frr_confidence,
            "calibration_rows": len(self.calibration),
            "label_names": list(self.label_names),
            "guard_digest": self.guard_digest,
            "victim": self.victim,
            "score_range": list(self.score_range),
            "histogram": self.histogram.to_dict(),
        }


def edges_for(calibration: np.ndarray, gamma: float, score_range: tuple[float, float]) -> np.ndarray:
    """Return bin edges around the confidences seen, up to the highest possible score if it is finite."""
    seen = np.append(calibration, gamma)
    low, high = score_range
    spread = max(float(seen.max() - seen.min()), 1e-6)
    first = max(low, float(seen.min()) - 0.25 * spread)
    last = high if np.isfinite(high) else float(seen.max()) + 0.5 * spread
    return np.linspace(first, last, BINS + 1)


def histogram(values: np.ndarray, edges: np.ndarray) -> Histogram:
    """Count the values; values beyond the edges count in the outermost bins."""
    inside = np.clip(values, edges[0], edges[-1])
    counts, _ = np.histogram(inside, bins=edges)
    return Histogram(tuple(float(edge) for edge in edges), tuple(int(count) for count in counts))
