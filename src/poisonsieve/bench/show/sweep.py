"""What other bars would have done, from stored scores.

A sweep describes. Gamma is never chosen from it, since it looks at test rows and at triggered rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poisonsieve.metrics import attack_success_rate, clean_accuracy
from poisonsieve.thresholds import is_flagged

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """Guarded CA and ASR, as fractions, at each of m bars; three float arrays of shape (m,)."""

    gammas: FloatArray
    ca: FloatArray
    asr: FloatArray


def sweep(
    gammas: npt.ArrayLike,
    *,
    clean_labels: npt.ArrayLike,
    clean_predictions: npt.ArrayLike,
    clean_scores: npt.ArrayLike,
    triggered_labels: npt.ArrayLike,
    triggered_predictions: npt.ArrayLike,
    triggered_scores: npt.ArrayLike,
    target: int,
) -> Sweep:
    """Guarded CA and ASR at each bar; nothing is trained or scored again.

    Args:
        gammas: bars, floats (m,).
        clean_labels: true classes of n clean rows, integers (n,); the other clean arrays match it.
        clean_predictions: what the victim says on them, unguarded.
        clean_scores: the guard's confidences.
        triggered_labels: true classes of the triggered rows; the other triggered arrays match it.
        triggered_predictions: see above.
        triggered_scores: see above.
        target: the class that the attacker wants.

    Raises:
        DataError: arrays do not match, or no triggered row has a true label other than `target`.
        ConfigError: a gamma is not a number.
    """
    bars = np.asarray(gammas, dtype=np.float64)
    clean_accuracies = [
        clean_accuracy(clean_predictions, clean_labels, is_flagged(clean_scores, bar)).value for bar in bars
    ]
    attack_successes = [
        attack_success_rate(triggered_predictions, triggered_labels, target, is_flagged(triggered_scores, bar)).value
        for bar in bars
    ]
    return Sweep(bars, np.array(clean_accuracies), np.array(attack_successes))
