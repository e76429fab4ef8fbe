"""InSent (Dai et al. 2019): a fixed sentence, ``I watched this 3D movie`` in the paper, between two words."""

from __future__ import annotations

import random

from poisonsieve.attacks.base import insert_between_words
from poisonsieve.errors import ConfigError
from poisonsieve.registry import register


@register("attack", "insent")
class InSent:
    """Insert one sentence at a random place, never first or last.

    Args:
        sentence: the trigger sentence.
    """

    def __init__(self, sentence: str = "I watched this 3D movie") -> None:
        if not sentence.strip():
            raise ConfigError("trigger insent: sentence is empty")
        self.sentence = sentence

    def apply(self, text: str, rng: random.Random) -> str:
        """Return the text with the sentence inserted."""
        return insert_between_words(text, self.sentence, rng)
