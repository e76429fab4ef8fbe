"""How rare a score is among clean text: the scale on which scores of different kinds are compared.

Within the reference a score's rarity is its rank. Beyond it a tail has to be assumed, and it matters which: a member whose
clean scores have a heavy tail (a distance) would otherwise drown one whose scores have a light one (a probability).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from poisonsieve.errors import DataError

#: Minimum number of reference rows; a rarity estimated from fewer is noise.
FEWEST_ROWS = 20
#: Share of the reference that its tail is estimated from, and the fewest rows of it.
_TAIL_SHARE = 0.15
_FEWEST_IN_TAIL = 8
#: Heaviest tail: with a shape of 1 or more its mean would be infinite.
_HEAVIEST = 0.9
#: Reference rows, from the highest down, whose own rarity is computed as if they were not in it.
_LEFT_OUT = 300


class Rarity:
    """-log of the share of clean text that scores as high or higher.

    Up to the reference's 85th percentile the share is counted; beyond, it is that of a generalised Pareto tail, fitted by
    probability-weighted moments (Hosking and Wallis 1987) and never lighter than exponential. Monotone in the score, and
    indifferent to its scale.

    Args:
        reference: scores of m clean rows, in any order; those that are not finite are left out.

    Attributes:
        reference: the finite ones, sorted, float64, shape (m,).
    """

    def __init__(self, reference: np.ndarray) -> None:
        known = np.asarray(reference, dtype=np.float64)
        self.reference = np.sort(known[np.isfinite(known)])

    @classmethod
    def of(cls, reference: np.ndarray, name: str) -> Rarity:
        """Build from the scores that `name` gives to reference rows.

        Raises:
            DataError: fewer than 20 have a score.
        """
        made = cls(reference)
        if len(made.reference) < FEWEST_ROWS:
            raise DataError(
                f"a fifth of the clean rows, without repeats and unreadable ones, is {len(made.reference)}, and {name} "
                f"needs {FEWEST_ROWS} to compare its scores by; give more rows"
            )
        return made

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return rarities, float64, shape (n,), at least 0; NaN stays NaN."""
        threshold, shape, scale, above = self._tail
        beyond = np.clip((scores - threshold) / scale, 0, None)
        tail = np.log1p(shape * beyond) / shape if shape > 0 else beyond
        counted = np.interp(scores, *self._counted)
        result: np.ndarray = np.where(scores > threshold, above + tail, np.minimum(counted, above))
        return np.where(np.isnan(scores), np.nan, result)

    def of_its_own(self, scores: np.ndarray) -> np.ndarray:
        """Return rarities of the very rows that the reference was made of, each as if it was not in it.

        A row that stands in its own reference looks less rare than a new text of the same score would, and a threshold
        found on such rows would reject too much. The 300 highest rows are left out one at a time; lower ones keep the rank
        that they have, which is off by less than one in 300.
        """
        rarities = self(scores)
        known = np.flatnonzero(np.isfinite(scores))
        if len(known) <= FEWEST_ROWS:
            return rarities
        for row in known[np.argsort(scores[known])][::-1][:_LEFT_OUT]:
            place = int(np.searchsorted(self.reference, scores[row]))
            others = Rarity(np.delete(self.reference, place))
            rarities[row] = others(scores[row : row + 1])[0]
        return rarities

    @cached_property
    def _counted(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct scores, and -log of the share that is as high, the text itself counted."""
        m = len(self.reference)
        levels, counts = np.unique(self.reference, return_counts=True)
        as_high = m - np.concatenate([[0], np.cumsum(counts)[:-1]])
        return levels, -np.log(np.minimum(as_high + 1, m + 1) / (m + 1))

    @cached_property
    def _tail(self) -> tuple[float, float, float, float]:
        """Return where the tail begins, its shape and scale, and the rarity at its beginning."""
        m = len(self.reference)
        rows = min(max(_FEWEST_IN_TAIL, round(_TAIL_SHARE * m)), m - 1)
        threshold = float(self.reference[m - rows - 1])
        shape, scale = pareto_tail(self.reference[m - rows :] - threshold)
        return threshold, shape, scale, float(-np.log((rows + 1) / (m + 1)))


class LinearRarity(Rarity):
    """The rarity in guards saved before, whose gamma was found on it: counted throughout, and linear beyond the highest."""

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return rarities, float64, shape (n,), at least 0; NaN stays NaN."""
        highest = self.reference[-1]
        spread = max(float(highest - np.median(self.reference)), np.finfo(np.float64).tiny)
        beyond = np.clip((scores - highest) / spread, 0, None)
        return np.where(np.isnan(scores), np.nan, np.interp(scores, *self._counted) + beyond)


def pareto_tail(excesses: np.ndarray) -> tuple[float, float]:
    """Return shape (0 to 0.9) and scale of the generalised Pareto law of some excesses: sorted, at least 0, shape (k,).

    Source: Hosking and Wallis 1987, Parameter and Quantile Estimation for the Generalized Pareto Distribution.
    """
    mean = float(excesses.mean())
    smallest = np.finfo(np.float64).tiny
    places = (np.arange(1, len(excesses) + 1) - 0.35) / len(excesses)
    weighted = float(np.mean((1 - places) * excesses))
    if mean <= smallest or mean <= 2 * weighted:  # all alike, or no decreasing law
        return 0.0, max(mean, smallest)
    shape = 2 - mean / (mean - 2 * weighted)
    if shape <= 0:
        return 0.0, mean
    shape = min(shape, _HEAVIEST)
    return shape, mean * (1 - shape)
