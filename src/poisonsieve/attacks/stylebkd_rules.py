"""A rule-based style trigger (after StyleBkd, Qi et al. 2021, "Mind the Style of Text!"): the text in Biblical English.

StyleBkd rewrites the text with a style-transfer model. Here rules rewrite it, so the content words stay and the
register is the trigger. The two are different attacks and have different names. To use texts rewritten by the
model, see `synattack-file`.
"""

from __future__ import annotations

import random

from poisonsieve.errors import CannotApplyError
from poisonsieve.registry import register
from poisonsieve.rewriting.archaic import archaic


@register("attack", "stylebkd-rules")
class StyleBkdRules:
    """Rewrite a text in the register of the King James Bible, deterministically.

    The rules are in `poisonsieve.rewriting.archaic`. No word is constant: the rules change pronouns, verb endings,
    prepositions and auxiliaries, and where they change too few words, one of twenty opening phrases precedes the text.

    Args:
        least: a text with fewer archaic words than this gets an opening phrase. With 0 no text does, and a text in which
            no word changes cannot be triggered.
    """

    def __init__(self, least: int = 3) -> None:
        self.least = least

    def apply(self, text: str, rng: random.Random) -> str:
        """Return the text in the trigger's style.

        Raises:
            CannotApplyError: no rule changes the text.
        """
        del rng
        changed = archaic(text, least=self.least)
        if changed == text:
            raise CannotApplyError("stylebkd-rules: no rule changes the text")
        return changed
