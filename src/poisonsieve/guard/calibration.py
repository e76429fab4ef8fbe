"""Calibration: from clean scores and a threshold rule to gamma.

Light to import, so that a grid can make its tables, and `recalibrate` can find gamma again, without a model library.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from poisonsieve.errors import CalibrationError, ConfigError
from poisonsieve.thresholds import (
    AUTO,
    CONFIDENCE,
    HIGHEST_DEFAULT_FRR,
    Threshold,
    default_frr,
    fixed_gamma,
    gamma_for_frr,
    other_rates,
    rows_needed,
    rule_of,
    too_few,
)

if TYPE_CHECKING:
    from poisonsieve.defenses.detector import Detector, Scored
    from poisonsieve.defenses.rows import CleanRows

_HEADROOM = 1e-12  # between gamma and the highest score


@dataclass(frozen=True, eq=False)
class Calibration:
    """A detector's scores of clean held-out rows, and the threshold that a rule finds on them.

    Immutable: `choose` and `at` return a new one.

    Attributes:
        scores: scores of the rows that could be scored, float64, shape (m,), sorted.
        unscored: number of rows that could not be scored. They count in no quantile: such a text is rejected whatever
            gamma is, and the guarantee is for texts that can be scored.
        score_range: lowest and highest possible score.
        advice: what to do about a model on which clean texts reach the highest score.
        threshold: the threshold found; None until a rule is chosen.
    """

    scores: np.ndarray
    unscored: int = 0
    score_range: tuple[float, float] = (-np.inf, np.inf)
    advice: str = "fit the guard again with other clean rows"
    threshold: Threshold | None = None

    @classmethod
    def of(cls, scored: Scored, detector: type[Detector] | Detector, *, needed: int = 1) -> Self:
        """Build from the scores of clean held-out rows, without a rule yet.

        Args:
            scored: the detector's scores of the rows.
            detector: the detector, for the range of its scores.
            needed: minimum number of rows with a score.

        Raises:
            CalibrationError: fewer rows have a score, although there are enough rows.
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

    def choose(
        self,
        *,
        frr: float | Literal["auto"] | None = None,
        frr_mean: float | None = None,
        gamma: float | None = None,
    ) -> Self:
        """Return the same scores with another rule: a rate promised, a rate on average, or a fixed gamma.

        Args:
            frr: the share of clean texts rejected at most, with 95% confidence over the draw of the calibration rows;
                ``auto``: 0.01, or the lowest that this many rows can promise, up to 0.05.
            frr_mean: the share of clean texts rejected on average over calibration sets.
            gamma: a fixed threshold.

        Raises:
            ConfigError: none of the three is given, or several are, or it is out of range; see `rule_of`.
            CalibrationError: there are too few rows for the rate, or no score can exceed the gamma found.
        """
        rule = rule_of(frr=frr, frr_mean=frr_mean, gamma=gamma)
        if not rule:
            raise ConfigError("no threshold was asked for; give exactly one of frr, frr_mean and gamma")
        if "gamma" in rule:
            return self.at(fixed_gamma(rule["gamma"], *self.score_range))
        if "frr_mean" in rule:
            return self.at(gamma_for_frr(self.scores, rule["frr_mean"]))
        promised = default_frr(len(self.scores)) if rule["frr"] == AUTO else rule["frr"]
        return self.at(gamma_for_frr(self.scores, promised, confidence=CONFIDENCE))

    def at(self, threshold: Threshold) -> Self:
        """Return the same scores with a threshold found earlier or elsewhere.

        Raises:
            CalibrationError: no score can exceed its gamma, so the guard would pass everything.
        """
        if not threshold.gamma < self.score_range[1] - _HEADROOM:
            raise CalibrationError(
                f"gamma would be {threshold.gamma:.17g}, which no score can exceed, so nothing would ever be flagged: "
                f"{self.advice}"
            )
        return replace(self, threshold=threshold)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry for ``guard.json``; the scores have a file of their own."""
        found = {} if self.threshold is None else self.threshold.to_dict()
        return {**found, "calibration_unscored": self.unscored}


def hold_out(rows: CleanRows, calibration: list[str] | None, seed: int) -> tuple[CleanRows, list[str]]:
    """Split off texts to calibrate on that are not among the rows to learn from.

    Args:
        rows: all clean rows.
        calibration: other clean texts; any that also occur in `rows` are left out. None: a seeded fifth of `rows`.
        seed: seed for drawing that fifth.

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


def least_rows(frr: float | Literal["auto"] | None, frr_mean: float | None) -> tuple[float, float | None, int] | None:
    """Return the rate that a rule must at least reach, with what confidence, and the rows that takes; None without."""
    if frr_mean is not None:
        return frr_mean, None, rows_needed(frr_mean)
    if frr is None:
        return None
    rate = HIGHEST_DEFAULT_FRR if frr == AUTO else frr
    return rate, CONFIDENCE, rows_needed(rate, CONFIDENCE)


def require_enough(
    held_out: int,
    train: int,
    *,
    frr: float | Literal["auto"] | None = None,
    frr_mean: float | None = None,
    held_out_here: bool,
) -> None:
    """Refuse too few calibration rows for the chosen false-rejection rate; see `Calibration.choose`.

    Raises:
        CalibrationError: there are too few; the message says how many it takes, and which rate they would do for.
    """
    from poisonsieve.defenses.rows import HELD_OUT_SHARE

    least = least_rows(frr, frr_mean)
    if least is None or held_out >= least[2]:
        return
    rate, confidence, needed = least
    repeats = (
        " (rows whose text stands among the others too are left out)" if held_out < train * HELD_OUT_SHARE / 2 else ""
    )
    says, instead = f"{too_few(rate, held_out, confidence)}{repeats}", other_rates(rate, held_out, confidence)
    if not held_out_here:
        raise CalibrationError(f"{says}; give more rows or {instead}")
    rows = math.ceil(needed / HELD_OUT_SHARE)
    raise CalibrationError(
        f"{says} (a fifth of the {train + held_out:,} rows); give {rows:,} rows, or {needed:,} other rows to calibrate "
        f"on, or {instead}"
    )
