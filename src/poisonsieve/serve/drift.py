"""Detect whether traffic still resembles the calibration rows, from the guard's confidences alone.

Gamma keeps its false-rejection rate for texts like the calibration rows. If recent confidences are distributed
differently, it may not: calibrate again. A flood of triggered texts also shifts the distribution.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

#: Significance level of the two-sample test; low, because the test is repeated all the time.
ALPHA = 0.001
PSI_BINS = 10


@dataclass(frozen=True)
class Drift:
    """Distance of recent confidences from those of the calibration rows.

    Attributes:
        ks: Kolmogorov-Smirnov distance, in [0, 1]; None if there are too few recent texts.
        bar: threshold of `ks`: its critical value at `ALPHA`, but at least a distance that matters.
        psi: population stability index over tenths of the calibration confidences; None as above.
        drifted: whether `ks` is above `bar`; None as above.
        recent_texts: number of recent confidences.
        calibration_rows: number of calibration confidences.
    """

    ks: float | None
    bar: float | None
    psi: float | None
    drifted: bool | None
    recent_texts: int
    calibration_rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def drift(recent: np.ndarray, calibration: np.ndarray, *, min_texts: int, min_ks: float) -> Drift:
    """Compare recent confidences with sorted calibration confidences.

    Args:
        recent: (n,), in any order, finite.
        calibration: (m,), sorted, finite.
        min_texts: minimum n for a result.
        min_ks: minimum of the bar.
    """
    n, m = len(recent), len(calibration)
    if n < max(1, min_texts) or m == 0:
        return Drift(None, None, None, None, n, m)
    ks = float(ks_2samp(recent, calibration, method="asymp").statistic)
    bar = max(min_ks, math.sqrt(-math.log(ALPHA / 2) / 2) * math.sqrt((n + m) / (n * m)))
    return Drift(ks, bar, population_stability(recent, calibration), ks > bar, n, m)


def population_stability(recent: np.ndarray, calibration: np.ndarray) -> float:
    """Return the sum over bins of (p - q) ln(p / q), with tenths of the calibration as bins.

    Half a text is added to each bin, so that no share is 0.
    """
    inner = np.unique(np.quantile(calibration, np.linspace(0, 1, PSI_BINS + 1)[1:-1]))
    bins = len(inner) + 1

    def shares(values: np.ndarray) -> np.ndarray:
        counts = np.bincount(np.searchsorted(inner, values, side="left"), minlength=bins)
        share: np.ndarray = (counts + 0.5) / (len(values) + 0.5 * bins)
        return share

    p, q = shares(recent), shares(calibration)
    return float(((p - q) * np.log(p / q)).sum())
