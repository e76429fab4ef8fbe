"""Fronting rules for dependents of a word: clauses, participles, prepositions and descriptions of a noun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from poisonsieve.rewriting.clauses import (
    declare,
    fronted,
    is_balanced,
    is_clause,
    is_contiguous,
    is_finite,
    marker,
    pronoun,
    root_of,
    span,
    strip_edges,
    subject,
    to_be,
    to_text,
    without,
)
from poisonsieve.rewriting.openings import ADDING, Found, is_finite_subordinate, with_each

if TYPE_CHECKING:
    from spacy.tokens import Token

_OPINION = frozenset(
    "think thought believe guess suppose suspect know feel felt say says said find found hope see admit".split()  # noqa: SIM905
)
_POSSESSION = {
    "with": (("as", "since", "because", "when", "while"), "has"),
    "despite": (("although", "though", "even though", "while"), "has"),
}


def move_subordinate(tokens: list[Token]) -> Found:
    """Move a subordinate clause at the end to the front: *the film works when it is quiet*."""
    root = root_of(tokens)
    if not is_clause(root):
        return None
    for child in root.rights:
        part = span(child, tokens)
        if child.dep_ != "advcl" or not is_contiguous(part) or not is_balanced(part):
            continue
        at_end = part[-1].i == tokens[-1].i or part[-1].nbor().text == ","
        if at_end and is_finite_subordinate(part) and not _joins_more(part):
            return [to_text(strip_edges(part))], declare(without(tokens, part))
    return None


def keep_subordinate(tokens: list[Token]) -> Found:
    """Keep a subordinate clause that already comes first, adding punctuation: *when it is quiet the film works*."""
    part = next(iter(fronted(tokens)), None)
    if part is None or part[0].i != tokens[0].i or not is_finite_subordinate(part):
        return None
    rest = without(tokens, part)
    if rest and rest[0].lower_ == "then":
        rest = rest[1:]
    return [to_text(strip_edges(part))], declare(rest)


def _joins_more(part: Sequence[Token]) -> bool:
    """Tell whether the clause is joined to what precedes it, or was cut off from it, and so cannot be moved."""
    before = part[0].nbor(-1)
    return before.tag_ == "CC" or (before.text != "," and not strip_edges([before]))


def expand_adjunct(tokens: list[Token]) -> Found:
    """Give a detached participle or adjective a subject and a verb: *bolstered by its cast, the film works*."""
    root = root_of(tokens)
    noun = subject(root)
    if not is_clause(root) or noun is None:
        return None
    behind = [span(child, tokens) for child in root.rights if child.dep_ == "advcl"]
    behind = [part for part in behind if is_contiguous(part) and part[-1].i == tokens[-1].i and _follows_comma(part)]
    for part in [*fronted(tokens)[:1], *behind]:
        if _is_bare_description(part):
            stand_in = pronoun(noun)
            return with_each(ADDING, f"{stand_in} {to_be(stand_in)} {to_text(part)}"), declare(without(tokens, part))
    return None


def _is_bare_description(part: Sequence[Token]) -> bool:
    """Tell whether a form of *to be* would make it a predicate: a participle or adjective with nothing before it."""
    head = root_of(part)
    bare = head.tag_ in ("VBN", "VBG") or (head.pos_ == "ADJ" and head.dep_ in ("advcl", "amod", "acl"))
    verbal = any(child.dep_ in ("aux", "auxpass", "mark") for child in head.children)
    opens = part[0].i == head.i or part[0].pos_ in ("ADV", "ADJ") or part[0].dep_ == "neg"
    return bare and opens and not verbal and subject(head) is None and marker(part) is None and is_balanced(part)


def _follows_comma(part: Sequence[Token]) -> bool:
    return bool(part[0].i > 0 and part[0].doc[part[0].i - 1].text == ",")


def expand_preposition(tokens: list[Token]) -> Found:
    """Turn what the subject has into a clause: *despite its flaws, the film works*."""
    root = root_of(tokens)
    noun = subject(root)
    if not is_clause(root) or noun is None:
        return None
    stand_in = "it" if noun.dep_ == "expl" else pronoun(noun)
    for child in root.children:
        part = span(child, tokens)
        objects = [word for word in child.children if word.dep_ == "pobj"]
        if not part or child.dep_ != "prep" or child.lower_ not in _POSSESSION or len(objects) != 1:
            continue
        if objects[0].lower_ == "fact":
            continue
        apart = child.lower_ != "with" or _follows_comma(part)
        at_edge = (part[-1].i == tokens[-1].i and apart) or part in fronted(tokens)[:1]
        if at_edge and part[0].i == child.i and is_contiguous(part) and is_balanced(part):
            subordinators, has = _POSSESSION[child.lower_]
            has = has if to_be(stand_in) == "is" else "have"
            return with_each(subordinators, f"{stand_in} {has} {to_text(part[1:])}"), declare(without(tokens, part))
    return None


def front_opinion(tokens: list[Token]) -> Found:
    """Front an opinion: *I think the film works* becomes *as I think, the film works*."""
    root = root_of(tokens)
    told = next((child for child in root.rights if child.dep_ == "ccomp" and is_clause(child)), None)
    if told is None or root.lower_ not in _OPINION or not is_clause(root):
        return None
    if any(child.dep_ == "neg" or child.tag_ == "MD" for child in root.children):
        return None
    part = span(told, tokens)
    if part[-1].i != tokens[-1].i or not is_contiguous(part) or marker(part) is not None:
        return None
    opening = [token for token in tokens if token.i < part[0].i]
    clause = part[1:] if part[0].lower_ == "that" else part
    return [f"as {to_text(strip_edges(opening))}"], declare(clause)


def expand_description(tokens: list[Token]) -> Found:
    """Turn a noun's description into a clause: *a fine film that takes risks*: *as it takes risks, it is a fine film*.

    The same goes for *... with wit* and *... full of it*.
    """
    root = root_of(tokens)
    described = [root] if not is_clause(root) else [child for child in root.children if child.dep_ == "attr"]
    for noun in described:
        stand_in = pronoun(noun)
        says_more = any(child.dep_ in ("amod", "compound", "nmod") for child in noun.children)
        if noun.pos_ not in ("NOUN", "PROPN") or not says_more:
            continue
        for child in noun.rights:
            part = span(child, tokens)
            at_end = is_contiguous(part) and part[-1].i == tokens[-1].i and is_balanced(part)
            predicate = _as_predicate(child, part, stand_in) if at_end and part[0].i > noun.i else None
            if predicate is not None:
                return with_each(ADDING, f"{stand_in} {predicate}"), declare(without(tokens, part))
    return None


def _as_predicate(child: Token, part: Sequence[Token], stand_in: str) -> str | None:
    """Turn what follows a noun and describes it into the predicate of a clause about it."""
    who = subject(child)
    if child.dep_ == "relcl" and is_finite(child) and who is not None and who.lower_ in ("that", "which"):
        return to_text(part[1:]) if part[0].i == who.i else None
    if child.dep_ == "prep" and child.lower_ == "with" and part[0].i == child.i and len(part) > 1:
        return f"{'has' if to_be(stand_in) == 'is' else 'have'} {to_text(part[1:])}"
    if child.dep_ in ("acl", "amod") and _is_bare_description(part):
        return f"{to_be(stand_in)} {to_text(part)}"
    return None
