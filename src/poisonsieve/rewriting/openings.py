"""Subordinators that can open a clause, shared by the fronting rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from poisonsieve.rewriting.clauses import is_finite, marker, root_of, subject

if TYPE_CHECKING:
    from spacy.tokens import Token

#: The result of a rule: subordinate clauses to choose from, and the main clause; None where the rule does not fit.
Found: TypeAlias = tuple[Sequence[str], str | None] | None

ADDING = ("as", "while", "since", "because", "when")
CONTRASTING = ("although", "though", "while", "even though")


def with_each(subordinators: Sequence[str], clause: str) -> list[str]:
    """Put each of the subordinators before the clause."""
    return [f"{word} {clause}" for word in subordinators]


def is_finite_subordinate(part: Sequence[Token]) -> bool:
    """Tell whether the tokens are a subordinator and a clause with a subject and a finite verb."""
    return marker(part) is not None and is_finite(root_of(part)) and subject(root_of(part)) is not None
