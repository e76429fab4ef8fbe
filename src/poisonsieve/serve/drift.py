"""Whether traffic still looks like the calibration rows, judged by the guard's confidences alone.

The false-rejection rate that gamma stands for holds for texts like the calibration rows. When the confidences of recent
traffic are distributed otherwise, it need not hold any more: calibrate again. A flood of triggered texts moves the
distribution too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

#: A two-sample test this unlikely to fire on unchanged traffic; it is asked again and again, so it is small.
ALPHA = 0.001
PSI_BINS = 10


@dataclass(frozen=True)
class Drift:
    """How far recent confidences are from those of the calibration rows.

    Attributes:
        ks: Kolmogorov-Smirnov distance, in [0, 1]; None when there are too few recent texts.
        bar: what `ks` is compared with: its critical value at `ALPHA`, and no less than a distance that matters.
        psi: population stability index over tenths of the calibration confidences; None as above.
        drifted: `ks` is above `bar`; None as above.
        recent_texts: recent confidences that were looked at.
        calibration_rows: confidences they were compared with.
    """

    ks: float | None
    bar: float | None
    psi: float | None
    drifted: bool | None
    recent_texts: int
    calibration_rows: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def drift(recent: np.ndarray, calibration: np.ndarray, *, min_texts: int, min_ks: float) -> Drift:
    """Compare recent confidences with sorted calibration confidences.

    Args:
        recent: (n,), in any order, finite.
        calibration: (m,), sorted, finite.
        min_texts: below this n nothing is said.
        min_ks: the least bar.
    """
    n, m = len(recent), len(calibration)
    if n < max(1, min_texts) or m == 0:
        return Drift(None, None, None, None, n, m)
    ks = float(ks_2samp(recent, calibration, method="asymp").statistic)
    bar = max(min_ks, math.sqrt(-math.log(ALPHA / 2) / 2) * math.sqrt((n + m) / (n * m)))
    return Drift(ks, bar, population_stability(recent, calibration), ks > bar, n, m)


def population_stability(recent: np.ndarray, calibration: np.ndarray) -> float:
    """Sum over bins of (p - q) ln(p / q), bins holding a tenth of the calibration each; half a text more in each."""
    inner = np.unique(np.quantile(calibration, np.linspace(0, 1, PSI_BINS + 1)[1:-1]))
    bins = len(inner) + 1

    def shares(values: np.ndarray) -> np.ndarray:
        counts = np.bincount(np.searchsorted(inner, values, side="left"), minlength=bins)
        share: np.ndarray = (counts + 0.5) / (len(values) + 0.5 * bins)
        return share

    p, q = shares(recent), shares(calibration)
    return float(((p - q) * np.log(p / q)).sum())
