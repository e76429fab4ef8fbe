"""A two-sample test in feature space that also says of each row how much it looks like the second sample.

A regularised linear classifier learns to tell the rows of one sample from those of the other, a layer each, and scores the
rows that it was not fitted on (classifier two-sample test: Lopez-Paz and Oquab, ICLR 2017). If both are drawn alike it can
learn nothing, and the scores of the two samples are exchangeable. A share of the second that differs from all of the first
gives itself away by its number, although none of its rows is odd by itself.

The classifier is ridge regression on the sample's number. It ranks rows as a logistic regression of the same strength does
(docs/research-log.md), and its out-of-fold scores are linear in those numbers. So a thousand permutations cost one product
of matrices, and the p-value is that of a permutation test: exact, whatever the features are and however the folds share
rows. A test of the cross-fitted scores as if they were independent would not be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5
PERMUTATIONS = 999
#: Ridge penalty, in units of a layer's mean squared feature: strong, because there may be fewer rows than features.
PENALTY = 10.0
#: Shares of all rows at the top of the scores in which rows of the second sample are counted. A campaign fills a small one,
#: a change of the whole sample half of them.
TOPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Compared:
    """What a comparison of two samples found.

    Attributes:
        p_value: probability of scores that set the second sample apart as far as these do, if both are drawn alike;
            at least 1 / (1 + permutations).
        first, second: cross-fitted scores of the rows of each sample, float64; higher = more like the second.
    """

    p_value: float
    first: np.ndarray
    second: np.ndarray


def compare(
    first: np.ndarray, second: np.ndarray, strata: np.ndarray, *, seed: int = 0, permutations: int = PERMUTATIONS
) -> Compared:
    """Compare two samples of rows of features, within strata: how many rows of each a sample has does not matter.

    Args:
        first: finite features, shape (m, layers, hidden).
        second: finite features, shape (n, layers, hidden).
        strata: int, shape (m + n,): the stratum of each row of the first, then of the second.
        seed: seed of the folds and the permutations.
        permutations: number of permutations; 0 if the p-value is not needed, which is then 1.
    """
    rng = np.random.default_rng(seed)
    features = np.concatenate([first, second])
    folds = rng.permutation(np.arange(len(features)) % FOLDS)
    numbers = np.zeros((len(features), 1 + permutations), dtype=np.float32)
    numbers[len(first) :] = 1
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    for rows in members:
        numbers[rows, 1:] = rng.permuted(numbers[rows, 1:], axis=0)
        numbers[rows] -= numbers[rows, :1].mean()
    scores = np.zeros_like(numbers)
    for layer in range(features.shape[1]):
        scores += _out_of_fold(_standardised(features[:, layer], members), numbers, folds)
    statistics = _most_at_the_top(scores, numbers)
    own = scores[:, 0].astype(np.float64) / features.shape[1]
    p_value = float((statistics >= statistics[0]).mean())
    return Compared(p_value, own[: len(first)], own[len(first) :])


def _standardised(rows: np.ndarray, members: Sequence[np.ndarray]) -> np.ndarray:
    """Centre each feature in each stratum and scale it, float32; of more features than rows, as many axes are kept."""
    rows = rows.astype(np.float32)
    for own in members:
        rows[own] -= rows[own].mean(axis=0)
    spread = rows.std(axis=0)
    rows /= np.where(spread > 0, spread, 1.0) * np.sqrt(rows.shape[1], dtype=np.float32)
    if rows.shape[1] <= rows.shape[0]:
        return rows
    axes, lengths, _ = np.linalg.svd(rows, full_matrices=False)
    turned: np.ndarray = axes * lengths
    return turned


def _out_of_fold(rows: np.ndarray, numbers: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Score each row by the ridge regressions, one a column of `numbers`, of the rows of the other folds."""
    scores = np.empty_like(numbers)
    penalty = np.float32(PENALTY) * np.eye(rows.shape[1], dtype=np.float32)
    for fold in range(FOLDS):
        inside, outside = folds == fold, folds != fold
        others = rows[outside]
        weights = np.linalg.solve(others.T @ others + penalty, others.T @ numbers[outside])
        scores[inside] = rows[inside] @ weights
    return scores


def _most_at_the_top(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return for each column the largest excess of the second sample in the top shares, in deviations by chance."""
    total = len(scores)
    descending = np.take_along_axis(numbers, np.argsort(-scores, axis=0, kind="stable"), axis=0)
    excess = descending.cumsum(axis=0)
    tops = np.array(sorted({max(1, round(share * total)) for share in TOPS}))
    deviations = np.sqrt(tops * (1 - tops / total))
    largest: np.ndarray = (excess[tops - 1] / deviations[:, None]).max(axis=0)
    return largest
