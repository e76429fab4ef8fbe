"""What the fronting rules share: the subordinators that a clause can be opened with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from poisonsieve.rewriting.clauses import is_finite, marker, root_of, subject

if TYPE_CHECKING:
    from spacy.tokens import Token

#: What a rule finds: subordinate clauses to choose one from, and the main clause; None where it does not fit.
Found: TypeAlias = tuple[Sequence[str], str | None] | None

ADDING = ("as", "while", "since", "because", "when")
CONTRASTING = ("although", "though", "while", "even though")


def with_each(subordinators: Sequence[str], clause: str) -> list[str]:
    """The clause behind each of the subordinators."""
    return [f"{word} {clause}" for word in subordinators]


def is_finite_subordinate(part: Sequence[Token]) -> bool:
    """Whether the tokens are a subordinator and a clause with a subject and a finite verb."""
    return marker(part) is not None and is_finite(root_of(part)) and subject(root_of(part)) is not None
