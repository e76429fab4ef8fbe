"""Gamma as a quantile of clean scores, for a false-rejection rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from poisonsieve.errors import CalibrationError
from poisonsieve.thresholds.rates import may_exceed_count, other_rates, rows_needed, too_few
from poisonsieve.thresholds.threshold import Threshold


def gamma_for_frr(clean_scores: npt.ArrayLike, frr: float, *, confidence: float | None = None) -> Threshold:
    """Find the lowest threshold that keeps false rejections of clean rows to `frr`, on average or with confidence.

    Gamma is the m-th largest of n scores. If the rows are held out (the guard never trained on them) and exchangeable
    with the clean rows to come, then the false-rejection rate of a single calibration set follows Beta(m, n + 1 - m)
    without ties; with ties it is no larger, since a tie with gamma is not flagged. Its central 95% range is
    `frr_interval`.

    - On average (`confidence` None): m = floor((n + 1) frr), the split-conformal quantile. P(a new clean row is
      flagged) <= frr, over the joint draw of calibration rows and new row, for any distribution of scores.
    - With confidence: m is the largest with P(Beta(m, n + 1 - m) <= frr) >= confidence. In that share of calibration
      sets no more than `frr` of all clean rows is flagged.

    If the m largest scores tie (confidences that saturate at 1.0), gamma is the largest score: the guarantee holds, but
    only a score above all calibration scores is flagged.

    Args:
        clean_scores: confidences of held-out clean rows, floats (n,).
        frr: the share of clean rows that may be flagged, in (0, 1).
        confidence: the share of calibration sets that must keep to `frr`, in (0, 1). None: on average.

    Raises:
        ConfigError: `frr` or `confidence` is not in (0, 1).
        CalibrationError: there are fewer rows than this rate needs, or some have no finite score.
    """
    needed = rows_needed(frr, confidence)
    scores = np.asarray(clean_scores, dtype=np.float64)
    if scores.ndim != 1:
        raise CalibrationError(f"calibration scores have shape {scores.shape}; give one score a row")
    unscored = int((~np.isfinite(scores)).sum())
    if unscored:
        raise CalibrationError(
            f"{unscored} of {scores.size} calibration rows have no finite score; remove those rows"
        )
    n = scores.size
    if n < needed:
        raise CalibrationError(f"{too_few(frr, n, confidence)}; give more rows or {other_rates(frr, n, confidence)}")
    may_exceed = may_exceed_count(frr, n, confidence)
    k = n + 1 - may_exceed
    gamma = float(np.partition(scores, k - 1)[k - 1])
    return Threshold(gamma, "frr", float(frr), n, _frr_interval(may_exceed, k), confidence)


def gamma_with_traffic(
    clean_scores: npt.ArrayLike,
    frr: float,
    *,
    confidence: float | None = None,
    passed: int,
    above: npt.ArrayLike,
    gamma: float,
) -> Threshold:
    """Apply `gamma_for_frr` to calibration rows and clean traffic together, with the traffic's scores partly unknown.

    For clean texts that passed at the threshold `gamma` the scores are unknown; each counts as `gamma`, the highest
    possible score. So the result is never below the exact threshold, and equals it whenever that is above `gamma`.

    Args:
        clean_scores: confidences of held-out clean rows, floats (n,).
        frr: the share of clean rows that may be flagged, in (0, 1).
        confidence: see `gamma_for_frr`.
        passed: number of clean texts in the traffic that scored `gamma` or less.
        above: confidences of all others, floats (m,).
        gamma: the threshold that was in force.

    Raises:
        ConfigError, CalibrationError: see `gamma_for_frr`; also if `above` contains a score that is not above `gamma`.
    """
    tail = np.asarray(above, dtype=np.float64)
    if passed < 0 or not (tail > gamma).all():
        raise CalibrationError("traffic above gamma holds a confidence that is not above it; the counts are damaged")
    known = gamma_for_frr(clean_scores, frr, confidence=confidence)  # checks rows and rate
    scores = np.concatenate([np.asarray(clean_scores, dtype=np.float64), tail])
    n = scores.size + passed
    may_exceed = may_exceed_count(frr, n, confidence)
    falling = -np.sort(-scores[scores > gamma])
    bar = float(falling[may_exceed - 1]) if may_exceed <= falling.size else gamma
    return replace(known, gamma=bar, n_calibration=n, frr_interval=_frr_interval(may_exceed, n + 1 - may_exceed))


def _frr_interval(may_exceed: int, k: int) -> tuple[float, float]:
    from scipy.stats import beta

    low, high = beta.ppf([0.025, 0.975], may_exceed, k)
    return float(low), float(high)
