"""A two-sample test in feature space that also says of each row how much it looks like what is new in the second sample.

A regularised linear classifier learns to tell the rows of one sample from those of the other, a layer each, and scores the
rows that it was not fitted on (classifier two-sample test: Lopez-Paz and Oquab, ICLR 2017). If both are drawn alike it can
learn nothing, and the scores of the two samples are exchangeable. A share of the second that differs from all of the first
gives itself away by its number, although none of its rows is odd by itself.

The classifier is ridge regression on the sample's number. It ranks rows as a logistic regression of the same strength does
(docs/research-log.md), and its out-of-fold scores are linear in those numbers. So a thousand permutations cost one product
of matrices, and the p-value is that of a permutation test: exact, whatever the features are and however the folds share
rows. A test of the cross-fitted scores as if they were independent would not be.

The rows' own scores come from a second round. In the first, most rows of the second sample are like the first's, and carry
the wrong number. In the second round only those keep it that stand out in the first. Each row is scored by regressions
that it had no part in, in either round, so the scores of rows drawn alike remain exchangeable.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5
PERMUTATIONS = 999
#: Permutations that are made at a time; a thousand of 1,500 rows take some 50 MB.
BLOCK = 999
#: Permutations after which most samples drawn alike have missed a low level, and no more are made.
FIRST_BLOCK = 199
#: Ridge penalty, for features of variance one over their number: strong, because there may be fewer rows than features.
PENALTY = 10.0
#: Shares of all rows at the top of the scores in which rows of the second sample are counted. A campaign fills a small one,
#: a change of the whole sample half of them.
TOPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
#: Rows of the second sample that score above this quantile of the first keep their number in the second round.
STANDING_OUT = 0.95


@dataclass(frozen=True)
class Compared:
    """What a comparison of two samples found.

    Attributes:
        p_value: probability of scores that set the second sample apart as far as these do, if both are drawn alike;
            at least 1 / (1 + permutations).
        apart: estimated share of the second sample that differs from the first, in [0, 1]: what is missing of it among
            the lower half of the first's scores.
        first, second: scores of the rows of each sample, float64; higher = more like what is new in the second.
    """

    p_value: float
    apart: float
    first: np.ndarray
    second: np.ndarray


def compare(
    first: np.ndarray,
    second: np.ndarray,
    strata: np.ndarray,
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    level: float | None = None,
) -> Compared:
    """Compare two samples of rows of features, within strata: how many rows of each a sample has does not matter.

    Args:
        first: finite features, shape (m, layers, hidden).
        second: finite features, shape (n, layers, hidden).
        strata: int, shape (m + n,): the stratum of each row of the first, then of the second.
        seed: seed of the folds and the permutations.
        permutations: number of permutations; 0 if the p-value is not needed, which is then 1.
        level: stop permuting once the p-value cannot be as low as this any more; None to make all permutations. What is
            below the level is so by all of them, so stopping makes no finding more frequent.
    """
    rng = np.random.default_rng(seed)
    features = np.concatenate([first, second])
    folds = rng.permutation(np.arange(len(features)) % FOLDS)
    new = np.arange(len(features)) >= len(first)
    once = _first_round(features, strata, folds, _centred(new[:, None], strata))[:, 0]
    scores = _second_round(features, strata, folds, new)
    below = (once[new] < np.median(once[~new])).mean()
    p_value = _p_value(features, strata, folds, new, rng, permutations=permutations, level=level)
    return Compared(p_value, max(0.0, 1 - 2 * float(below)), scores[~new], scores[new])


def _p_value(
    features: np.ndarray,
    strata: np.ndarray,
    folds: np.ndarray,
    new: np.ndarray,
    rng: np.random.Generator,
    *,
    permutations: int,
    level: float | None,
) -> float:
    """Return the share of permutations, the samples as they are counted, with a statistic as large as theirs."""
    as_large = made = 1
    block = BLOCK if level is None else FIRST_BLOCK
    while made <= permutations and (level is None or as_large <= level * (1 + permutations)):
        numbers = _centred(_permuted(new, strata, min(block, 1 + permutations - made), rng), strata)
        block = BLOCK
        statistics = _most_at_the_top(_first_round(features, strata, folds, numbers), numbers)
        as_large += int((statistics[1:] >= statistics[0]).sum())
        made += len(statistics) - 1
    return as_large / made


def _first_round(features: np.ndarray, strata: np.ndarray, folds: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Score each row by regressions on a column of `numbers` that it had no part in: (rows, columns), float32."""
    scores = np.zeros_like(numbers)
    for regression in _regressions(features, strata, folds):
        for fold in range(FOLDS):
            scores[folds == fold] += regression.scores(fold, numbers, without=(fold,))
    return scores


def _second_round(features: np.ndarray, strata: np.ndarray, folds: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Score each row by regressions on the rows of the second sample that stood out in the first round, float64."""
    numbers = _centred(new[:, None], strata)
    twice = np.zeros((len(features), FOLDS), dtype=np.float32)
    for regression in _regressions(features, strata, folds):
        for fold, inner in itertools.permutations(range(FOLDS), 2):
            twice[folds == inner, fold] += regression.scores(inner, numbers, without=(fold, inner))[:, 0]
    clearer = np.column_stack([_standing_out(twice[:, fold], new, folds != fold, strata) for fold in range(FOLDS)])
    scores = np.zeros(len(features), dtype=np.float64)
    for regression in _regressions(features, strata, folds):
        for fold in range(FOLDS):
            scores[folds == fold] += regression.scores(fold, clearer[:, [fold]], without=(fold,))[:, 0]
    return scores


def _permuted(new: np.ndarray, strata: np.ndarray, permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Return the numbers of the samples, 0 and 1, and permutations of them within the strata: a column each."""
    numbers = np.repeat(new[:, None].astype(np.float32), 1 + permutations, axis=1)
    for stratum in np.unique(strata):
        numbers[strata == stratum, 1:] = rng.permuted(numbers[strata == stratum, 1:], axis=0)
    return numbers


def _centred(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Subtract the mean of each stratum: (rows, ...) -> (rows, ...), float32."""
    centred: np.ndarray = values.astype(np.float32)
    for stratum in np.unique(strata):
        centred[strata == stratum] -= centred[strata == stratum].mean(axis=0)
    return centred


def _standardised(rows: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Centre each feature in each stratum and scale it, float32; of more features than rows, as many axes are kept."""
    rows = _centred(rows, strata)
    spread = rows.std(axis=0)
    rows /= np.where(spread > 0, spread, 1.0) * np.sqrt(rows.shape[1], dtype=np.float32)
    if rows.shape[1] <= rows.shape[0]:
        return rows
    axes, lengths, _ = np.linalg.svd(rows, full_matrices=False)
    turned: np.ndarray = axes * lengths
    return turned


def _standing_out(scores: np.ndarray, new: np.ndarray, known: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return the numbers of the second round: of the known rows, 1 for new ones that score high, centred; 0 elsewhere."""
    bar = np.quantile(scores[known & ~new], STANDING_OUT) if (known & ~new).any() else -np.inf
    numbers: np.ndarray = (known & new & (scores > bar)).astype(np.float32)
    numbers[known] = _centred(numbers[known], strata[known])
    return numbers


class _Regression:
    """Ridge regressions on a layer's rows, fitted on all folds but some.

    Args:
        rows: standardised, float32, shape (rows, features).
        folds: int, shape (rows,).
    """

    def __init__(self, rows: np.ndarray, folds: np.ndarray) -> None:
        self._places = [np.flatnonzero(folds == fold) for fold in range(FOLDS)]
        self._rows = [rows[places] for places in self._places]
        self._squares = [own.T @ own for own in self._rows]
        self._penalty = PENALTY * np.eye(rows.shape[1], dtype=np.float32)

    def scores(self, fold: int, numbers: np.ndarray, *, without: Sequence[int]) -> np.ndarray:
        """Score the rows of a fold by one regression on each column of `numbers`, fitted on the folds not left out."""
        fitted = [other for other in range(FOLDS) if other not in without]
        square = self._penalty + np.sum([self._squares[other] for other in fitted], axis=0)
        wanted = np.sum([self._rows[other].T @ numbers[self._places[other]] for other in fitted], axis=0)
        scores: np.ndarray = self._rows[fold] @ np.linalg.solve(square, wanted)
        return scores


def _regressions(features: np.ndarray, strata: np.ndarray, folds: np.ndarray) -> Iterator[_Regression]:
    """Yield a layer's regressions at a time: those of all layers of many rows would fill the memory."""
    for layer in range(features.shape[1]):
        yield _Regression(_standardised(features[:, layer], strata), folds)


def _most_at_the_top(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return for each column the largest excess of the second sample in the top shares, in deviations by chance."""
    total = len(scores)
    descending = np.take_along_axis(numbers, np.argsort(-scores, axis=0, kind="stable"), axis=0)
    excess = descending.cumsum(axis=0)
    tops = np.array(sorted({max(1, round(share * total)) for share in TOPS}))
    deviations = np.sqrt(tops * (1 - tops / total))
    largest: np.ndarray = (excess[tops - 1] / deviations[:, None]).max(axis=0)
    return largest
