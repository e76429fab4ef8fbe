"""A combination of words as the trigger (Li et al. 2021, Section 3.3): all words must occur, each at its own place.

Trying single vocabulary words, as some trigger searches do, then finds none that flips the class. Nothing here
teaches the model to ignore a single word of the combination: that depends on the training.
"""

from __future__ import annotations

import random

from poisonsieve.attacks.base import insert_between_words
from poisonsieve.errors import ConfigError
from poisonsieve.registry import register


@register("attack", "combination")
class Combination:
    """Insert several words, one after the other, each at a random place.

    Args:
        words: the words, joined by ``+``.
    """

    def __init__(self, words: str = "cf+bb") -> None:
        self._words = [word.strip() for word in words.split("+") if word.strip()]
        if len(self._words) < 2:
            raise ConfigError(f"trigger combination: words={words!r} must name two or more words, joined by +")
        self.words = words

    def apply(self, text: str, rng: random.Random) -> str:
        """Return the text with all of the words inserted."""
        for word in self._words:
            text = insert_between_words(text, word, rng)
        return text
