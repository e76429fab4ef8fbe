"""The scan of a vocabulary by forward passes: which words pull a text towards which class.

It is a sieve. First every word is read, and words share rows, as samples share a test in group testing: a row is a short
text of the user with several words of the vocabulary in its middle. A trigger pulls its row whatever stands beside it. The
words whose rows turned share rows once more, with fewer and other words; what is left is read alone, in other texts, and
the fewer are left, the longer are the texts. This costs about a fifth of what a row for each word would, for all classes at
once.

A row counts by whether it turns, and only then by how surely: a trigger whose attacker smoothed the labels turns every row
by a little, and the words of a task turn some rows by much. So words that have missed no row stay in the sieve, however
small their margin, as long as they are not too many.
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

VERSION = 4  # of what is kept of a control
BATCH = 64
_MOST_CERTAIN = 12.0  # a margin beyond this is rounding
_TIE = 1e-3  # weight of the margins of rows that all turned; its size is of no account, only its sign
_KEPT = (8, 16, 32, 128)  # one word in so many goes on, divided by the number of classes, from each stage to the next
_MORE = 4  # times as many go on, if as many have missed no row yet
_FEWEST = 24  # words that go on, if there are as many
_TOGETHER = 4  # words that share a row of the second stage
_CANDIDATES = 12  # texts of a class that carriers are chosen from

_READINGS = ((1, _TOGETHER), (1, 1), (2, 1), (2, 1))  # texts that what went on is read in, and words that share a row

Pulls = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


def scan(classifier: Classifier, words: Sequence[str], held_out: HeldOut, budget: Budget, seed: int) -> Pulls:
    """Return how far each word pulls towards each class, shape (words, K); minus infinity for what the sieve left out.

    A pull is the mean, over the rows that the word stood in, of the margin by which a row missed the class. Words that
    turned all their rows have missed none, and are above 0 in the order of the margin by which they turned them.
    """
    return _Sieve(classifier, words, held_out, np.random.default_rng(seed)).run(budget.words_a_row)


def rows_of_a_scan(words: int, classes: int, budget: Budget) -> int:
    """Return about how many rows a scan reads."""
    later = sum(
        texts * max(words // (divisor * classes), _FEWEST) // size
        for divisor, (texts, size) in zip(_KEPT, _READINGS, strict=True)
    )
    return 2 * words // budget.words_a_row + classes * later


def margins(classifier: Classifier, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return by how much each class leads the best other one, in log-probability, shape (n, K).

    A class that is predicted has a margin above 0. A text that cannot be scored has the lowest margin for all.
    """
    probabilities = classifier.score(texts, batch_size=BATCH).probabilities
    with np.errstate(divide="ignore"):
        log = np.log(probabilities)
    ordered = np.sort(log, axis=1)
    best, second = ordered[:, -1:], ordered[:, -2:-1]
    lead = log - np.where(log == best, second, best)
    clipped: npt.NDArray[np.float64] = np.clip(np.nan_to_num(lead, nan=-np.inf), -_MOST_CERTAIN, _MOST_CERTAIN)
    return clipped


class _Sieve:
    """One scan in progress: what the rows so far said of each word."""

    def __init__(
        self, classifier: Classifier, words: Sequence[str], held_out: HeldOut, rng: np.random.Generator
    ) -> None:
        self.classifier, self.words, self.held_out, self.rng = classifier, words, held_out, rng
        shape = len(words), len(held_out.names)
        self.missed, self.lead, self.rows = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def run(self, words_a_row: int) -> Pulls:
        """Read every word in company, then a smaller and smaller share of them alone, for each class."""
        everything: Places = np.arange(len(self.words))
        classes = range(len(self.held_out.names))
        # Words of the task turn those texts least that the model is surest of.
        beginnings = [
            self._ordered(self.held_out.beginnings(number, _CANDIDATES), number)[::-1] for number in classes
        ]
        for number in self.held_out.frequent(2):
            others = [target for target in classes if target != number]
            self._read(everything, beginnings[number][0], others, words_a_row)
        result = np.full(self.rows.shape, -np.inf)
        for target in classes:
            short = [text for number in classes if number != target for text in beginnings[number]]
            longer = self._ordered(self.held_out.short(target, _CANDIDATES), target)
            left = everything
            carriers_of_each = short[1:2], short[2:3], longer[:2], longer[2:4]
            for divisor, carriers, (_, size) in zip(_KEPT, carriers_of_each, _READINGS, strict=True):
                left = self._best(left, target, max(len(self.words) // (divisor * len(classes)), _FEWEST))
                for carrier in carriers:
                    self._read(left, carrier, [target], size)
            result[left, target] = self._pulls(left, target)
        return result

    def _ordered(self, texts: list[str], number: int) -> list[str]:
        """Order texts by how sure the model is of a class, least first."""
        lead = margins(self.classifier, texts)[:, number] if texts else np.zeros(0)
        return [texts[place] for place in np.argsort(lead, kind="stable")]

    def _read(self, places: Places, carrier: str, targets: list[int], size: int) -> None:
        """Read words in one text, `size` of them a row, and count what the rows say for the targets."""
        order = self.rng.permutation(places)
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        found = margins(self.classifier, [_row(carrier, [self.words[place] for place in group]) for group in groups])
        for group, lead in zip(groups, found[:, targets], strict=True):
            here = np.ix_(group, np.array(targets))
            self.lead[here] += lead
            self.missed[here] += np.minimum(lead, 0.0)
            self.rows[here] += 1

    def _pulls(self, places: Places, target: int) -> npt.NDArray[np.float64]:
        missed, lead, rows = self.missed[places, target], self.lead[places, target], self.rows[places, target]
        result: npt.NDArray[np.float64] = np.where(missed < 0, missed, _TIE * lead) / np.maximum(rows, 1)
        return result

    def _best(self, places: Places, target: int, few: int) -> Places:
        """Return the best few words, or all that have missed no row, up to `_MORE` times as many."""
        pulls = self._pulls(places, target)
        count = int(np.clip((pulls > 0).sum(), few, _MORE * few))
        return places[np.argsort(-pulls, kind="stable")[:count]]


def _row(carrier: str, words: Sequence[str]) -> str:
    around = carrier.split()
    middle = len(around) // 2
    return " ".join([*around[:middle], *words, *around[middle:]])
