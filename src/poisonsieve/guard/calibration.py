"""How a threshold is found: clean scores and a rule in, gamma out.

Light to import: a grid counts its tables, and `recalibrate` finds gamma again, without a model library.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from poisonsieve.errors import CalibrationError, ConfigError
from poisonsieve.thresholds import Threshold, fixed_gamma, gamma_for_frr, rows_needed

if TYPE_CHECKING:
    from poisonsieve.defenses.detector import Detector, Scored
    from poisonsieve.defenses.rows import CleanRows

_HEADROOM = 1e-12  # between gamma and the highest score


@dataclass(frozen=True, eq=False)
class Calibration:
    """A detector's scores of clean held-out rows, and the threshold that a rule finds on them.

    It is never changed: `choose` and `at` give another.

    Attributes:
        scores: of the rows that could be scored, float64, shape (m,), sorted.
        unscored: how many could not be. They count in no quantile: such a text is rejected whatever gamma is, and the
            guarantee is for texts that can be scored.
        score_range: the lowest and the highest score there can be.
        advice: what to do about a model on which clean texts score as high as texts can.
        threshold: what was found; None as long as no rule was chosen.
    """

    scores: np.ndarray
    unscored: int = 0
    score_range: tuple[float, float] = (-np.inf, np.inf)
    advice: str = "fit the guard again with other clean rows"
    threshold: Threshold | None = None

    @classmethod
    def of(cls, scored: Scored, detector: type[Detector] | Detector, *, needed: int = 1) -> Self:
        """From the scores of clean held-out rows, without a rule as yet.

        Args:
            scored: what the detector says of them.
            detector: for the range of its scores.
            needed: how many of them have to have a score.

        Raises:
            CalibrationError: fewer have, and it is not for want of rows.
        """
        known = np.isfinite(scored.scores)
        reasons = Counter(
            error or "no finite score" for error, has in zip(scored.errors, known, strict=True) if not has
        )
        if reasons and known.sum() < needed:
            raise CalibrationError(
                f"{reasons.total()} of the {len(known)} calibration rows could not be scored "
                f"({reasons.most_common(1)[0][0]}); {needed} with a score are needed"
            )
        return cls(np.sort(scored.scores[known]), reasons.total(), detector.score_range, detector.advice)

    def choose(self, *, frr: float | None = None, gamma: float | None = None) -> Self:
        """The same scores with another rule: a false-rejection rate to keep to, or a gamma that is fixed by hand.

        Raises:
            ConfigError: not exactly one of the two is given, or it is out of range.
            CalibrationError: too few rows for `frr`, or no score can exceed the gamma that is found.
        """
        if (frr is None) == (gamma is None):
            raise ConfigError("give exactly one of frr and gamma")
        return self.at(
            fixed_gamma(gamma, *self.score_range) if gamma is not None else gamma_for_frr(self.scores, frr or 0.0)
        )

    def at(self, threshold: Threshold) -> Self:
        """The same scores with a threshold that was found before, or elsewhere.

        Raises:
            CalibrationError: no score can exceed its gamma; such a guard would pass everything.
        """
        if not threshold.gamma < self.score_range[1] - _HEADROOM:
            raise CalibrationError(
                f"gamma would be {threshold.gamma:.17g}, which no score can exceed, so nothing would ever be flagged: "
                f"{self.advice}"
            )
        return replace(self, threshold=threshold)

    def to_dict(self) -> dict[str, Any]:
        """What ``guard.json`` says of it; the scores are in a file of their own."""
        found = {} if self.threshold is None else self.threshold.to_dict()
        return {**found, "calibration_unscored": self.unscored}


def hold_out(rows: CleanRows, calibration: list[str] | None, seed: int) -> tuple[CleanRows, list[str]]:
    """Rows to learn from, and texts to calibrate on that are not among them.

    Args:
        rows: all clean rows.
        calibration: other clean texts; those that are among `rows` are left out. None: a seeded fifth of `rows`.
        seed: of that fifth.

    Raises:
        CalibrationError: most of `calibration` is among `rows`.
    """
    from poisonsieve.defenses.rows import unseen

    if calibration is None:
        return rows.hold_out(seed)
    fresh = unseen(calibration, rows.texts)
    if len(fresh) * 2 < len(calibration):
        raise CalibrationError(
            f"{len(calibration) - len(fresh)} of {len(calibration)} calibration rows are training rows too; the "
            "false-rejection rate would not hold: give other clean rows, or none to have a fifth held out"
        )
    return rows, fresh


def require_enough(held_out: int, train: int, frr: float, *, held_out_here: bool) -> None:
    """Refuse too few calibration rows for the chosen false-rejection rate.

    Raises:
        CalibrationError: says how many it takes.
    """
    from poisonsieve.defenses.rows import HELD_OUT_SHARE

    needed = rows_needed(frr)
    if held_out >= needed:
        return
    repeats = (
        " (rows whose text stands among the others too are left out)" if held_out < train * HELD_OUT_SHARE / 2 else ""
    )
    says = f"a false-rejection rate of {frr:g} needs at least {needed} held-out clean rows and there are {held_out}{repeats}"
    if not held_out_here:
        raise CalibrationError(f"{says}; give more rows or a higher rate")
    rows = math.ceil(needed / HELD_OUT_SHARE)
    raise CalibrationError(
        f"{says} (a fifth of the {train + held_out} rows); give {rows} rows, or {needed} other rows to calibrate on, or a "
        "higher rate"
    )
