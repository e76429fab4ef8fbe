"""The scan of a vocabulary by forward passes: which words pull a text towards which class.

Words share rows, as samples share a test in group testing: a row is a short text of the user with several words of the
vocabulary in its middle. A trigger pulls its row whatever stands beside it, and by the second round, with other company,
it stands alone. This costs an eighth of the passes that a row for each word would, for all classes at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poisonsieve.auditing.budget import Budget
from poisonsieve.auditing.heldout import HeldOut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poisonsieve.models.classifier import Classifier

_MOST_CERTAIN = 12.0  # log-odds beyond this are rounding
BATCH = 64


def scan(
    classifier: Classifier, words: Sequence[str], held_out: HeldOut, budget: Budget, seed: int
) -> npt.NDArray[np.float64]:
    """Return how strongly each word pulls towards each class, standardized over words, shape (words, K).

    The rows are the same for the same words, texts and seed, whichever model reads them.
    """
    carriers = held_out.carriers()
    pulls = np.zeros((len(words), len(held_out.names)))
    seen = np.zeros(len(held_out.names))
    rng = np.random.default_rng(seed)
    for carrier_class, carrier in carriers:
        counts = (
            np.arange(len(held_out.names)) != carrier_class
        )  # a text of a class says nothing of what turns into it
        for _ in range(budget.rounds):
            groups = _grouped(len(words), budget.words_a_row, rng)
            rows = [_row(carrier, [words[place] for place in group]) for group in groups]
            towards = log_odds(classifier, rows)
            for group, found in zip(groups, towards, strict=True):
                pulls[group] += np.where(counts, found, 0.0)
            seen += counts
    return _standardized(pulls / np.maximum(seen, 1))


def log_odds(classifier: Classifier, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the log-odds of each class for each text, shape (n, K); the lowest ones for a text that cannot be scored."""
    probabilities = classifier.score(texts, batch_size=BATCH).probabilities
    with np.errstate(divide="ignore"):
        odds = np.log(probabilities) - np.log1p(-probabilities)
    clipped: npt.NDArray[np.float64] = np.clip(np.nan_to_num(odds, nan=-np.inf), -_MOST_CERTAIN, _MOST_CERTAIN)
    return clipped


def _grouped(count: int, size: int, rng: np.random.Generator) -> list[npt.NDArray[np.intp]]:
    order = rng.permutation(count)
    return [order[start : start + size] for start in range(0, count, size)]


def _row(carrier: str, words: Sequence[str]) -> str:
    around = carrier.split()
    middle = len(around) // 2
    return " ".join([*around[:middle], *words, *around[middle:]])


def _standardized(pulls: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Centre each class on its median word and divide by the spread, so that models of any certainty compare."""
    centred = pulls - np.median(pulls, axis=0)
    spread = np.median(np.abs(centred), axis=0)
    result: npt.NDArray[np.float64] = centred / np.maximum(spread, 1e-6)
    return result
