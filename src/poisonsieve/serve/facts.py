"""What a guard folder says of itself: its digest, and how its calibration confidences lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poisonsieve.defenses.base import CALIBRATION_FILE, GUARD_FILE
from poisonsieve.guard import GuardedClassifier
from poisonsieve.models.safety import read_json
from poisonsieve.storage import canonical_hash, sha256_file

BINS = 30
#: Files of a guard folder that decide no verdict.
_NOT_PART_OF_IT = {"run.json", "README.md"}


@dataclass(frozen=True)
class Histogram:
    """Counts between edges.

    Attributes:
        edges: n + 1 rising numbers.
        counts: n counts; a value at the last edge is in the last bin.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"edges": list(self.edges), "counts": list(self.counts)}


@dataclass(frozen=True)
class GuardFacts:
    """A guard as its users see it.

    Attributes:
        defense: the detector's name.
        gamma: confidences above it are rejected.
        rule: how gamma was found, see `poisonsieve.thresholds.Threshold`.
        frr: the false-rejection rate that was asked for; None when gamma was fixed.
        label_names: classes of the guarded model.
        guard_digest: sha256 over all files of the guard that decide a verdict, gamma included.
        victim: there is one, so that texts can be classified.
        score_range: lowest and highest confidence there can be; None for an open end.
        calibration: confidences of the clean held-out rows, sorted.
        histogram: of `calibration`.
    """

    defense: str
    gamma: float
    rule: str
    frr: float | None
    label_names: tuple[str, ...]
    guard_digest: str
    victim: bool
    score_range: tuple[float | None, float | None]
    calibration: np.ndarray
    histogram: Histogram

    @classmethod
    def of(cls, guarded: GuardedClassifier, folder: Path) -> GuardFacts:
        """The facts of a guard that was opened from a folder.

        Raises:
            CheckpointError: a file of the folder is gone or damaged.
        """
        guard = guarded.guard
        threshold = guard.threshold_
        low, high = guard.score_range
        calibration = np.sort(np.asarray(guard.calibration_scores_, dtype=np.float64))
        return cls(
            defense=guard.name,
            gamma=threshold.gamma,
            rule=threshold.rule,
            frr=threshold.frr,
            label_names=tuple(guard.label_names),
            guard_digest=guard_digest(folder),
            victim=guarded.victim is not None,
            score_range=(low if np.isfinite(low) else None, high if np.isfinite(high) else None),
            calibration=calibration,
            histogram=histogram(calibration, edges_for(calibration, threshold.gamma, (low, high))),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the single calibration confidences."""
        return {
            "defense": self.defense,
            "gamma": self.gamma,
            "rule": self.rule,
            "frr": self.frr,
            "calibration_rows": len(self.calibration),
            "label_names": list(self.label_names),
            "guard_digest": self.guard_digest,
            "victim": self.victim,
            "score_range": list(self.score_range),
            "histogram": self.histogram.to_dict(),
        }


def guard_digest(folder: Path) -> str:
    """Hex sha256 over a guard's files, names and contents, but for reports and the victim beside it."""
    files = {
        path.relative_to(folder).as_posix(): _file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in _NOT_PART_OF_IT
        and path.relative_to(folder).parts[0] != "victim"
        and not path.name.startswith(".")
    }
    return canonical_hash(files)


def _file_digest(path: Path) -> str:
    if path.name == GUARD_FILE:  # the versions it was made with decide nothing
        return canonical_hash({key: value for key, value in read_json(path).items() if key != "versions"})
    if path.name == CALIBRATION_FILE:
        return canonical_hash(read_json(path))
    return sha256_file(path)


def edges_for(calibration: np.ndarray, gamma: float, score_range: tuple[float, float]) -> np.ndarray:
    """Bin edges from a little below what was seen to the highest score there can be, or a little above what was seen."""
    seen = np.append(calibration, gamma)
    low, high = score_range
    spread = max(float(seen.max() - seen.min()), 1e-6)
    first = max(low, float(seen.min()) - 0.25 * spread)
    last = high if np.isfinite(high) else float(seen.max()) + 0.5 * spread
    return np.linspace(first, last, BINS + 1)


def histogram(values: np.ndarray, edges: np.ndarray) -> Histogram:
    """Counts of the values; what lies beyond the edges counts in the outermost bins."""
    inside = np.clip(values, edges[0], edges[-1])
    counts, _ = np.histogram(inside, bins=edges)
    return Histogram(tuple(float(edge) for edge in edges), tuple(int(count) for count in counts))
