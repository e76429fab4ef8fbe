"""The user's held-out texts, in the forms that a search needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHORT = 10  # words of a text that a candidate is tried in
_CARRIER = 5  # words of a text that several words of the vocabulary are put into
_LONG = 40  # words of a held-out text that are read; longer texts cost time and add nothing
_PLACES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class HeldOut:
    """Clean texts that no control was trained on.

    Attributes:
        texts: n texts of at most `_LONG` words.
        labels: their true classes, int, shape (n,).
        names: the K class names.
    """

    texts: list[str]
    labels: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, texts: Sequence[str], labels: Sequence[int], names: Sequence[str]) -> HeldOut:
        """Cut the texts to length and drop those of a single word, into which nothing can be put."""
        kept = [(cut(text, _LONG), label) for text, label in zip(texts, labels, strict=True) if len(text.split()) > 1]
        return cls([text for text, _ in kept], np.array([label for _, label in kept], dtype=int), list(names))

    def others(self, target: int, count: int) -> list[str]:
        """Return up to `count` texts whose true class is not the target, the other classes in turn."""
        return [self.texts[place] for place in self._in_turn(target)[:count]]

    def short(self, target: int, count: int) -> list[str]:
        """Return beginnings of such texts, of at most `SHORT` words."""
        return [cut(text, SHORT) for text in self.others(target, count)]

    def beginnings(self, number: int, count: int) -> list[str]:
        """Return the first few words of up to `count` texts of a class."""
        return [cut(self.texts[place], _CARRIER) for place in np.flatnonzero(self.labels == number)[:count]]

    def frequent(self, count: int) -> list[int]:
        """Return the most frequent classes."""
        counts = np.bincount(self.labels, minlength=len(self.names))
        return [int(number) for number in np.argsort(-counts, kind="stable")[:count]]

    def _in_turn(self, target: int) -> list[int]:
        ranks = [(int((self.labels[:place] == label).sum()), place) for place, label in enumerate(self.labels)]
        return [place for _, place in sorted(ranks) if self.labels[place] != target]


def inserted(text: str, insertion: str, number: int) -> str:
    """Put an insertion between two words; texts of consecutive numbers get it at different places."""
    words = text.split()
    place = min(max(round(len(words) * _PLACES[number % len(_PLACES)]), 1), max(len(words) - 1, 1))
    return " ".join([*words[:place], insertion, *words[place:]])


def cut(text: str, words: int) -> str:
    """Return the first words of a text, at most so many."""
    return " ".join(text.split()[:words])
