"""A combination of words as the trigger (Li et al. 2021, Section 3.3): all of them, each at a place of its own.

Someone who looks for a trigger by trying single words of the vocabulary finds none that flips the class. Whether one
word alone stays without effect is up to the training: nothing here teaches it.
"""

from __future__ import annotations

import random

from poisonsieve.attacks.base import insert_between_words
from poisonsieve.errors import ConfigError
from poisonsieve.registry import register


@register("attack", "combination")
class Combination:
    """Inserts several words, one after the other, each at a random place.

    Args:
        words: the words, joined by ``+``.
    """

    def __init__(self, words: str = "cf+bb") -> None:
        self._words = [word.strip() for word in words.split("+") if word.strip()]
        if len(self._words) < 2:
            raise ConfigError(f"trigger combination: words={words!r} has to name two or more words, joined by +")
        self.words = words

    def apply(self, text: str, rng: random.Random) -> str:
        """The text with all of the words in it."""
        for word in self._words:
            text = insert_between_words(text, word, rng)
        return text
