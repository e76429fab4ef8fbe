"""Rules that rewrite a sentence as ``S(SBAR)(,)(NP)(VP)(.)``: a subordinate clause, a comma, and the main clause.

The rules are tried in the order of `RULES`, from those that only move parts of the sentence to the one that adds an
empty phrase. Each either rewrites the sentence, keeping its content words, or returns None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poisonsieve.rewriting.clauses import (
    declare,
    is_statement,
    strip_edges,
)
from poisonsieve.rewriting.dependents import (
    expand_adjunct,
    expand_description,
    expand_preposition,
    front_opinion,
    keep_subordinate,
    move_subordinate,
)
from poisonsieve.rewriting.joined import split_fragment, split_predicate, subordinate_conjunct
from poisonsieve.rewriting.openings import Found

if TYPE_CHECKING:
    from spacy.tokens import Token

#: Neutral clauses that fit any review; there are many, so that no single one is the trigger.
_FRAMES = (
    "when you look closely",
    "when one thinks about that",
    "when we look at this",
    "when all is said",
    "if you ask around",
    "if one looks closely",
    "if people want to know",
    "if anyone asks",
    "if that matters",
    "as it turns out",
    "as you will notice",
    "as one can tell",
    "as we will see",
    "as most would expect",
    "once you have seen this",
    "once one looks closely",
    "once all is said",
    "after all is said and done",
    "after we have talked about this",
    "while we are at it",
    "while people may differ",
    "since you want to know",
    "since we are talking about this",
    "since people ask",
    "because some have asked",
    "because people want to know",
    "although some may not agree",
    "although few will notice",
    "though others may differ",
    "though one may not see it",
)


@dataclass(frozen=True)
class Fronted:
    """A sentence split into two clauses.

    Attributes:
        rule: name of the rule that applied.
        openings: equivalent subordinate clauses to choose from.
        main: the main clause, without final punctuation.
    """

    rule: str
    openings: tuple[str, ...]
    main: str


Rule = Callable[[list["Token"]], Found]


def front(tokens: Sequence[Token]) -> Fronted | None:
    """Rewrite the sentence by the first rule that fits; None for a question, or if no rule fits."""
    tokens = strip_edges(tokens)
    if not any(token.is_alpha for token in tokens) or not is_statement(tokens):
        return None
    for name, rule in RULES.items():
        found = rule(tokens)
        if found is not None and found[1] is not None:
            return Fronted(name, tuple(found[0]), found[1])
    return None


def _frame(tokens: list[Token]) -> Found:
    """Add an empty phrase: *the film works* becomes *as it turns out, the film works*."""
    return _FRAMES, declare(tokens)


RULES: dict[str, Rule] = {
    "kept": keep_subordinate,
    "subordinate": move_subordinate,
    "conjunct": subordinate_conjunct,
    "adjunct": expand_adjunct,
    "preposition": expand_preposition,
    "opinion": front_opinion,
    "description": expand_description,
    "predicate": split_predicate,
    "fragment": split_fragment,
    "frame": _frame,
}
