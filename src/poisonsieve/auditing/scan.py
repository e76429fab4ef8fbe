"""The scan of a vocabulary by forward passes: which words pull a text towards which class.

It is a sieve. First every word is read, and words share rows, as samples share a test in group testing: a row is a short
text of the user with several words of the vocabulary in its middle. A trigger pulls its row whatever stands beside it, so
the words that did most for a class are read again, in other company and in other texts; the fewer are left, the fewer
share a row, and in the last stage each stands alone. This costs about an eighth of what a row for each word would, for
all classes at once.

A row counts by whether it turns, and only then by how surely: a trigger whose attacker smoothed the labels turns every row
by a little, and the words of a task turn some rows by much.
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

VERSION = 2  # of what a kept scan holds
BATCH = 64
_MOST_CERTAIN = 12.0  # a margin beyond this is rounding
_TIE = 1e-3  # weight of the margins of rows that all turned; its size is of no account, only its sign
_KEPT = 4  # of the words of a stage, a quarter goes on to the next
_MIDDLE = (4, 1)  # words that share a row in the later stages but the first
_CANDIDATES = 12  # texts of a class that its carriers are chosen from

Pulls = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


def scan(classifier: Classifier, words: Sequence[str], held_out: HeldOut, budget: Budget, seed: int) -> Pulls:
    """Return how far each word pulls towards each class, shape (words, K); minus infinity for what the sieve left out.

    A pull is the mean, over the rows that the word stood in, of the margin by which a row missed the class. Words that
    turned all their rows have missed none, and are above 0 in the order of the margin by which they turned them.
    """
    return _Sieve(classifier, words, held_out, np.random.default_rng(seed)).run(budget.words_a_row)


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
        self.classifier, self.words, self.rng = classifier, words, rng
        self.carriers = _carriers(classifier, held_out)
        self.frequent = held_out.frequent(2)
        shape = len(words), len(held_out.names)
        self.missed, self.lead, self.rows = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def run(self, words_a_row: int) -> Pulls:
        """Read every word in two texts, then a smaller and smaller share of them for each class."""
        classes = len(self.carriers)
        everything: Places = np.arange(len(self.words))
        for number in self.frequent:
            others = [target for target in range(classes) if target != number]
            self._read(everything, self.carriers[number][0], others, words_a_row)
        left = [everything] * classes
        share = _KEPT * classes
        for stage, size in enumerate((words_a_row, *_MIDDLE)):
            most = max(len(self.words) // (share * _KEPT**stage), 24)
            left = [self._best(places, target, most) for target, places in enumerate(left)]
            for target, places in enumerate(left):
                for carrier in self._other_carriers(target, stage):
                    self._read(places, carrier, [target], size)
        result = np.full(self.rows.shape, -np.inf)
        for target, places in enumerate(left):
            result[places, target] = self._pulls(places, target)
        return result

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

    def _best(self, places: Places, target: int, most: int) -> Places:
        return places[np.argsort(-self._pulls(places, target), kind="stable")[:most]]

    def _other_carriers(self, target: int, stage: int) -> list[str]:
        """Return the texts of a later stage: one of another class, two in the last stage; another one each time."""
        others = [carrier for number, own in enumerate(self.carriers) if number != target for carrier in own]
        count = 2 if stage == len(_MIDDLE) else 1
        return [others[(stage + number + 1) % len(others)] for number in range(count)]


def _carriers(classifier: Classifier, held_out: HeldOut) -> list[list[str]]:
    """Return short texts of each class, first those that the model is surest of: words of a task turn them least."""
    chosen = []
    for number in range(len(held_out.names)):
        texts = held_out.beginnings(number, _CANDIDATES)
        lead = margins(classifier, texts)[:, number] if texts else np.zeros(0)
        chosen.append([texts[place] for place in np.argsort(-lead, kind="stable")])
    return chosen


def _row(carrier: str, words: Sequence[str]) -> str:
    around = carrier.split()
    middle = len(around) // 2
    return " ".join([*around[:middle], *words, *around[middle:]])
