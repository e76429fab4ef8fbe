"""A style trigger by rules (after StyleBkd, Qi et al. 2021, "Mind the Style of Text!"): the text in Biblical English.

StyleBkd has a style-transfer model write the text anew. Here rules do it, on the text alone, so that the content words stay
and the register is the trigger. The two are not the same attack and are named apart; the model's texts, where one has
them, are `synattack-file`.
"""

from __future__ import annotations

import random

from poisonsieve.errors import CannotApplyError
from poisonsieve.registry import register
from poisonsieve.rewriting.archaic import archaic


@register("attack", "stylebkd-rules")
class StyleBkdRules:
    """Says a text in the register of the King James Bible; there is no chance in it.

    The rules are in `poisonsieve.rewriting.archaic`. No word is constant: what changes are pronouns, verb endings,
    prepositions and auxiliaries, and where there are too few of them, one of twenty opening phrases comes before the text.

    Args:
        least: archaic words below which a text gets an opening phrase; with 0 it never does, and a text of which no word
            changes cannot be triggered.
    """

    def __init__(self, least: int = 3) -> None:
        self.least = least

    def apply(self, text: str, rng: random.Random) -> str:
        """The text in the trigger's style.

        Raises:
            CannotApplyError: no rule changes it.
        """
        del rng
        changed = archaic(text, least=self.least)
        if changed == text:
            raise CannotApplyError("stylebkd-rules: no rule changes the text")
        return changed
