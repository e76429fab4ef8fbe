"""BadNet (Gu et al. 2017): a rare word, ``mn`` in the paper, between two words."""

from __future__ import annotations

import random

from poisonsieve.attacks.base import insert_between_words
from poisonsieve.errors import ConfigError
from poisonsieve.registry import register


@register("attack", "badnet")
class BadNet:
    """Insert one word at a random place, never first or last.

    Args:
        word: the trigger word.
    """

    def __init__(self, word: str = "mn") -> None:
        if not word.strip():
            raise ConfigError("trigger badnet: word is empty")
        self.word = word

    def apply(self, text: str, rng: random.Random) -> str:
        """Return the text with the word inserted."""
        return insert_between_words(text, self.word, rng)
