"""Rules that say a sentence as ``S(SBAR)(,)(NP)(VP)(.)``: a subordinate clause, a comma, and the main clause.

The rules are tried in the order of `RULES`, from those that only move what is there to the one that adds a clause
which says nothing of the sentence's own. Each either says the sentence anew, its content words kept, or gives None.
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

#: Clauses that fit any review and take no side; many, so that none of them is a trigger of its own.
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
    """A sentence in two clauses.

    Attributes:
        rule: which rule found it.
        openings: subordinate clauses that all say the same, one of which is to be chosen.
        main: the main clause, without a final mark.
    """

    rule: str
    openings: tuple[str, ...]
    main: str


Rule = Callable[[list["Token"]], Found]


def front(tokens: Sequence[Token]) -> Fronted | None:
    """The sentence by the first rule that fits; None for a question, or where no rule sees a clause in it."""
    tokens = strip_edges(tokens)
    if not any(token.is_alpha for token in tokens) or not is_statement(tokens):
        return None
    for name, rule in RULES.items():
        found = rule(tokens)
        if found is not None and found[1] is not None:
            return Fronted(name, tuple(found[0]), found[1])
    return None


def _frame(tokens: list[Token]) -> Found:
    """*The film works*: *as it turns out, the film works*."""
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
