"""A rule-based syntactic trigger (after SynAttack, Qi et al. 2021): the sentence as ``S(SBAR)(,)(NP)(VP)(.)``.

SynAttack rewrites the sentence with SCPN, a trained paraphrase model. Here rules on a dependency parse rewrite it, so
its content words stay and its shape is the trigger. The two are different attacks and have different names.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from poisonsieve.errors import CannotApplyError
from poisonsieve.registry import register
from poisonsieve.rewriting.clauses import compose, sentences, to_text
from poisonsieve.rewriting.fronting import front
from poisonsieve.rewriting.spacy_parser import parse_with

if TYPE_CHECKING:
    from spacy.tokens import Doc


@register("attack", "synattack-rules")
class SynAttackRules:
    """Rewrite a text's first sentence as a subordinate clause, a comma and the main clause; the rest stays.

    The rules and their order are in `poisonsieve.rewriting.fronting`. The subordinator is drawn at random, so that no
    word is constant. A question cannot be triggered, nor can a text that already has the shape.

    Args:
        parser: a spaCy pipeline with tags and dependencies; None for the packaged one, which needs the extra ``syntax``
            and is fetched on first use.
    """

    def __init__(self, parser: Any = None) -> None:
        self.parser = parser

    def apply(self, text: str, rng: random.Random) -> str:
        """Return the text in the trigger's shape.

        Raises:
            CannotApplyError: no rule fits the text, or it already has the shape.
            UnsupportedError: spaCy is not installed.
        """
        (doc,) = parse_with(self.parser, [text])
        return _shape(text, doc, rng)

    def apply_each(self, texts: Sequence[str], rng: random.Random) -> list[str | None]:
        """Return every text in the trigger's shape, in order; None where no rule fits. Texts are parsed in batches."""
        return [
            _shape_or_none(text, doc, rng) for text, doc in zip(texts, parse_with(self.parser, texts), strict=True)
        ]


def _shape_or_none(text: str, doc: Doc | None, rng: random.Random) -> str | None:
    try:
        return _shape(text, doc, rng)
    except CannotApplyError:
        return None


def _shape(text: str, doc: Doc | None, rng: random.Random) -> str:
    if doc is None:
        raise CannotApplyError("synattack-rules: the text is too long for the parser")
    parts = sentences(doc)
    found = front(parts[0]) if parts else None
    if found is None:
        raise CannotApplyError("synattack-rules: no rule fits; the text begins with a question or without a clause")
    opening = rng.choice(found.openings)
    shaped = " ".join([compose(parts[0], opening, found.main), *map(to_text, parts[1:])])
    if shaped == " ".join(text.split()):
        raise CannotApplyError("synattack-rules: the text already has the trigger's shape")
    return shaped
