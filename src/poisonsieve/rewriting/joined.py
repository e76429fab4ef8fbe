"""Fronting rules for coordination: of two statements, predicates or fragments, the first becomes a subordinate clause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from poisonsieve.rewriting.clauses import (
    SUBJECTS,
    declare,
    is_balanced,
    is_clause,
    is_finite,
    marker,
    pronoun,
    root_of,
    span,
    strip_edges,
    subject,
    to_text,
)
from poisonsieve.rewriting.openings import ADDING, CONTRASTING, Found, with_each

if TYPE_CHECKING:
    from spacy.tokens import Token

_REASON = ("because", "since", "as")
_BY_CONJUNCTION = {"and": ADDING, "but": CONTRASTING, "yet": CONTRASTING, "so": _REASON, "": ADDING}
_BE = {"is": "is", "was": "was", "are": "are", "were": "were", "'s": "is", "'re": "are"}
_BE_OF_THEY = {"is": "are", "was": "were", "are": "are", "were": "were", "'s": "are", "'re": "are"}
_SHORT = 3  # up to this many tokens, a subject is repeated rather than replaced by a pronoun


def subordinate_conjunct(tokens: list[Token]) -> Found:
    """Subordinate the first of two statements, as a concession if ``but`` joins them: *X is good and Y is bad*."""
    for second in _second_verbs(tokens):
        start = span(second, tokens)[0].i
        left = [token for token in tokens if token.i < start]
        right = strip_edges([token for token in tokens if token.i >= start])
        joined = ""
        while left and _joins(left[-1]):
            joined = left[-1].lower_ if left[-1].tag_ == "CC" else joined
            left.pop()
        if right and right[0].lower_ == "so" and not joined:
            joined, right = "so", right[1:]
        if joined not in _BY_CONJUNCTION or not left or not right or not (is_balanced(left) and is_balanced(right)):
            continue
        if any(token.dep_ == "preconj" for token in left) or right[0].tag_ in ("WDT", "WP", "IN"):
            continue
        opening, main = declare(left), _second_clause(second, left, right)
        if opening and main and marker(left) is None:
            return with_each(_BY_CONJUNCTION[joined], opening), main
    return None


def _joins(token: Token) -> bool:
    return token.tag_ == "CC" or not strip_edges([token])


def _second_verbs(tokens: list[Token]) -> list[Token]:
    """Return words with which a second statement may begin, those with their own subject first.

    They are the finite conjuncts of the main verb, and the subject of a clause that runs on from another.
    """
    root = root_of(tokens)
    inside = {token.i for token in tokens}
    chain = {root.i}
    found = []
    for token in tokens:
        joined = token.head.i in chain and token.dep_ in ("conj", "parataxis")
        if joined:
            chain.add(token.i)
        if (
            token.i > root.i
            and is_finite(token)
            and (joined or token.head.i not in inside or token.head.i == token.i)
        ):
            found.append(token)
    left = next((child for child in root.lefts if child.dep_ in ("ccomp", "parataxis") and is_clause(child)), None)
    noun = subject(root)
    if left is not None and noun is not None and left.i < noun.i and left.left_edge.i <= tokens[0].i:
        found.append(noun)
    return sorted(found, key=lambda token: token.dep_ not in SUBJECTS and subject(token) is None)


def _second_clause(second: Token, left: list[Token], right: list[Token]) -> str | None:
    """Turn the second conjunct into a main clause, which may need the first one's subject."""
    if second.dep_ in SUBJECTS or subject(second) is not None:
        return declare(right) if is_clause(root_of(right)) else None
    first = root_of(left)
    noun = subject(first)
    if second.tag_ in ("VBN", "VBG") and not any(child.dep_ in ("aux", "auxpass") for child in second.children):
        return None
    if noun is None:
        return f"it {to_text(strip_edges(right))}" if first.pos_ not in ("VERB", "AUX") or is_finite(first) else None
    return f"{_again(noun, left)} {to_text(strip_edges(right))}"


def split_predicate(tokens: list[Token]) -> Found:
    """Split two adjectives: *the film is warm and funny* becomes *as the film is warm, it is funny*.

    The same goes for the fragment *warm and funny*.
    """
    root = root_of(tokens)
    noun = subject(root)
    first = root if noun is None else next((child for child in root.rights if child.dep_ == "acomp"), root)
    second = next((child for child in first.rights if child.dep_ == "conj" and child.pos_ == "ADJ"), None)
    if second is None or first.pos_ != "ADJ" or (noun is not None and root.lower_ not in _BE):
        return None
    if noun is not None and (not is_clause(root) or any(child.dep_ in ("neg", "aux") for child in root.children)):
        return None
    right = [token for token in tokens if token.i >= second.left_edge.i]
    left = [token for token in tokens if token.i < right[0].i]
    joined = ""
    while left and _joins(left[-1]):
        joined = left[-1].lower_ if left[-1].tag_ == "CC" else joined
        left.pop()
    if joined not in ("and", "but", "yet", "") or any(token.dep_ == "preconj" for token in left):
        return None
    if not (is_balanced(left) and is_balanced(right)):
        return None
    opening = declare(left)
    stand_in = "it" if noun is None else _again(noun, tokens)
    be = "is" if noun is None else _BE_OF_THEY[root.lower_] if stand_in == "they" else _BE[root.lower_]
    return (
        None
        if opening is None
        else (with_each(_BY_CONJUNCTION[joined], opening), f"{stand_in} {be} {to_text(right)}")
    )


def split_fragment(tokens: list[Token]) -> Found:
    """Split a fragment: *a fine film, funny and warm* becomes *as it is a fine film, it is funny and warm*."""
    root = root_of(tokens)
    if root.pos_ not in ("NOUN", "PROPN", "ADJ") or subject(root) is not None:
        return None
    for place, token in enumerate(tokens):
        left, right = strip_edges(tokens[:place]), strip_edges(tokens[place:])
        if token.i < root.i or token.text not in (",", "-", "--", ";", ":", "...") or not left or not right:
            continue
        head = root_of(right)
        added = head.head.i in {part.i for part in left} and head.dep_ in ("appos", "conj", "amod", "acl", "advcl")
        descriptive = head.pos_ in ("NOUN", "PROPN", "ADJ") or head.tag_ in ("VBN", "VBG")
        if not (added and descriptive and subject(head) is None and marker(right) is None):
            continue
        contrast = any(part.lower_ in ("but", "yet") for part in tokens[place : place + 2])
        opening = declare(left)
        if opening:
            return with_each(CONTRASTING if contrast else ADDING, opening), declare(right)
    return None


def _again(noun: Token, tokens: Sequence[Token]) -> str:
    """Repeat a short subject, or replace a longer one by its pronoun."""
    whole = strip_edges(span(noun, tokens))
    return to_text(whole) if len(whole) <= _SHORT else pronoun(noun)
