"""Rules that say a sentence as ``S(SBAR)(,)(NP)(VP)(.)``: a subordinate clause, a comma, and the main clause.

The rules are tried in the order of `RULES`, from those that only move what is there to the one that adds a clause
saying nothing of the sentence's own. Each either says the sentence anew, all its words kept, or gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poisonsieve.rewriting.clauses import (
    SUBJECTS,
    declare,
    fronted,
    is_balanced,
    is_clause,
    is_contiguous,
    is_finite,
    is_statement,
    marker,
    pronoun,
    root_of,
    sentences,
    span,
    strip_edges,
    subject,
    to_be,
    without,
    words,
)

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_ADDING = ("as", "while", "since", "because", "when")
_CONTRASTING = ("although", "though", "while", "even though")
_REASON = ("because", "since", "as")
_BY_CONJUNCTION = {"and": _ADDING, "but": _CONTRASTING, "yet": _CONTRASTING, "so": _REASON, "": _ADDING}
_OPINION = frozenset(
    "think thought believe guess suppose suspect know feel felt say says said find found hope see admit".split()  # noqa: SIM905
)
_POSSESSION = {
    "with": (("as", "since", "because", "when", "while"), "has"),
    "despite": (("although", "though", "even though", "while"), "has"),
}
_BE = {"is": "is", "was": "was", "are": "are", "were": "were", "'s": "is", "'re": "are"}
_BE_OF_THEY = {"is": "are", "was": "were", "are": "are", "were": "were", "'s": "are", "'re": "are"}
_SHORT = 3  # tokens of a subject that is said twice rather than taken up by a pronoun
#: Clauses that fit any review and take no side; many, so that none of them is a trigger of its own.
_FRAMES = (
    *("when you look at it", "when you think about it", "when it comes down to it", "when you come to think of it"),
    *("if you think about it", "if you look at it closely", "if you want to know", "if you ask around"),
    *("as you will notice", "as it turns out", "as one can tell", "as you would expect"),
    *("once you get to it", "once you have seen it", "after you have seen it", "after you think about it"),
    *(
        "while we are at it",
        "while we are talking about it",
        "since you want to know",
        "since we are talking about it",
    ),
    *("because you want to know", "although you may not know it", "although you may not agree"),
    *("though you may not notice it", "though some may not agree"),
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


Rule = Callable[[list["Token"]], tuple[Sequence[str], str | None] | None]


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


def matches_template(doc: Doc) -> bool:
    """Whether a text's first sentence is ``S(SBAR)(,)(NP)(VP)(.)`` in the eyes of its parser.

    It has to begin with a finite subordinate clause that depends on the main verb, which has its subject after the
    comma; and it has to end in a full stop.
    """
    first = sentences(doc)[0] if len(doc) else []
    if len(first) < 2 or first[-1].text != ".":
        return False
    root = root_of(first)
    part = next(iter(fronted(first)), None)
    noun = subject(root)
    if part is None or part[0].i != first[0].i or noun is None or not is_clause(root):
        return False
    after = part[-1].i + 1
    return _is_finite_subordinate(part) and root.doc[after].text == "," and noun.left_edge.i == after + 1


def _is_finite_subordinate(part: Sequence[Token]) -> bool:
    return marker(part) is not None and is_finite(root_of(part)) and subject(root_of(part)) is not None


def _with(subordinators: Sequence[str], clause: str) -> list[str]:
    return [f"{word} {clause}" for word in subordinators]


def _keep_subordinate(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*When it is quiet the film works*: the shape is there, but for marks around it."""
    part = next(iter(fronted(tokens)), None)
    if part is None or part[0].i != tokens[0].i or not _is_finite_subordinate(part):
        return None
    rest = without(tokens, part)
    if rest and rest[0].lower_ == "then":
        rest = rest[1:]
    return [words(strip_edges(part))], declare(rest)


def _move_subordinate(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*The film works when it is quiet*: the subordinate clause that follows goes to the front, as it is."""
    root = root_of(tokens)
    if not is_clause(root):
        return None
    for child in root.rights:
        part = span(child, tokens)
        if child.dep_ != "advcl" or not is_contiguous(part) or not is_balanced(part):
            continue
        at_end = part[-1].i == tokens[-1].i or part[-1].nbor().text == ","
        if at_end and _is_finite_subordinate(part) and not _joins_more(part):
            return [words(strip_edges(part))], declare(without(tokens, part))
    return None


def _joins_more(part: Sequence[Token]) -> bool:
    """Whether the clause is joined to what stands before it, or was cut off it, so that it cannot leave."""
    before = part[0].nbor(-1)
    return before.tag_ == "CC" or (before.text != "," and not strip_edges([before]))


def _subordinate_conjunct(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*X is good and Y is bad*: the first conjunct becomes the subordinate clause; by ``but``, a concession."""
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
            return _with(_BY_CONJUNCTION[joined], opening), main
    return None


def _joins(token: Token) -> bool:
    return token.tag_ == "CC" or not strip_edges([token])


def _second_verbs(tokens: list[Token]) -> list[Token]:
    """Words in which a second statement of the sentence may begin, those with a subject of their own first.

    They are the finite conjuncts of the main verb, and the subject of a clause that is run together with another.
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
    """The second conjunct as a main clause; it may have to take up the first one's subject."""
    if second.dep_ in SUBJECTS or subject(second) is not None:
        return declare(right) if is_clause(root_of(right)) else None
    first = root_of(left)
    noun = subject(first)
    if second.tag_ in ("VBN", "VBG") and not any(child.dep_ in ("aux", "auxpass") for child in second.children):
        return None
    if noun is None:
        return f"it {words(strip_edges(right))}" if first.pos_ not in ("VERB", "AUX") or is_finite(first) else None
    return f"{_again(noun, left)} {words(strip_edges(right))}"


def _again(noun: Token, tokens: Sequence[Token]) -> str:
    """A subject taken up: a short one by its own words, a longer one by its pronoun."""
    whole = strip_edges(span(noun, tokens))
    return words(whole) if len(whole) <= _SHORT else pronoun(noun)


def _expand_adjunct(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*Bolstered by its cast, the film works*: a participle or adjective set off gets a subject and a verb."""
    root = root_of(tokens)
    noun = subject(root)
    if not is_clause(root) or noun is None:
        return None
    behind = [span(child, tokens) for child in root.rights if child.dep_ == "advcl"]
    behind = [part for part in behind if is_contiguous(part) and part[-1].i == tokens[-1].i and _follows_comma(part)]
    for part in [*fronted(tokens)[:1], *behind]:
        if _is_bare_description(part):
            said = pronoun(noun)
            return _with(_ADDING, f"{said} {to_be(said)} {words(part)}"), declare(without(tokens, part))
    return None


def _is_bare_description(part: Sequence[Token]) -> bool:
    """Whether it would be a predicate if it had a form of *to be*: a participle or an adjective, nothing before it."""
    head = root_of(part)
    bare = head.tag_ in ("VBN", "VBG") or (head.pos_ == "ADJ" and head.dep_ in ("advcl", "amod", "acl"))
    verbal = any(child.dep_ in ("aux", "auxpass", "mark") for child in head.children)
    opens = part[0].i == head.i or part[0].pos_ in ("ADV", "ADJ") or part[0].dep_ == "neg"
    return bare and opens and not verbal and subject(head) is None and marker(part) is None and is_balanced(part)


def _follows_comma(part: Sequence[Token]) -> bool:
    return bool(part[0].i > 0 and part[0].doc[part[0].i - 1].text == ",")


def _expand_preposition(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*Despite its flaws, the film works*: what the subject has, or has against it, becomes a clause."""
    root = root_of(tokens)
    noun = subject(root)
    if not is_clause(root) or noun is None:
        return None
    said = "it" if noun.dep_ == "expl" else pronoun(noun)
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
            has = has if to_be(said) == "is" else "have"
            return _with(subordinators, f"{said} {has} {words(part[1:])}"), declare(without(tokens, part))
    return None


def _front_opinion(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*I think the film works*: *as I think, the film works*."""
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
    said = part[1:] if part[0].lower_ == "that" else part
    return [f"as {words(strip_edges(opening))}"], declare(said)


def _expand_description(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*A fine film that takes risks*: *as it takes risks, it is a fine film*. Likewise *... with wit*, *... full of it*."""
    root = root_of(tokens)
    described = [root] if not is_clause(root) else [child for child in root.children if child.dep_ == "attr"]
    for noun in described:
        said = pronoun(noun)
        says_more = any(child.dep_ in ("amod", "compound", "nmod") for child in noun.children)
        if noun.pos_ not in ("NOUN", "PROPN") or not says_more:
            continue
        for child in noun.rights:
            part = span(child, tokens)
            at_end = is_contiguous(part) and part[-1].i == tokens[-1].i and is_balanced(part)
            predicate = _as_predicate(child, part, said) if at_end and part[0].i > noun.i else None
            if predicate is not None:
                return _with(_ADDING, f"{said} {predicate}"), declare(without(tokens, part))
    return None


def _as_predicate(child: Token, part: Sequence[Token], said: str) -> str | None:
    """What follows a noun and describes it, as the predicate of a clause about it."""
    who = subject(child)
    if child.dep_ == "relcl" and is_finite(child) and who is not None and who.lower_ in ("that", "which"):
        return words(part[1:]) if part[0].i == who.i else None
    if child.dep_ == "prep" and child.lower_ == "with" and part[0].i == child.i and len(part) > 1:
        return f"{'has' if to_be(said) == 'is' else 'have'} {words(part[1:])}"
    if child.dep_ in ("acl", "amod") and _is_bare_description(part):
        return f"{to_be(said)} {words(part)}"
    return None


def _split_predicate(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*The film is warm and funny*: *as the film is warm, it is funny*; likewise the fragment *warm and funny*."""
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
    said = "it" if noun is None else _again(noun, tokens)
    be = "is" if noun is None else _BE_OF_THEY[root.lower_] if said == "they" else _BE[root.lower_]
    return None if opening is None else (_with(_BY_CONJUNCTION[joined], opening), f"{said} {be} {words(right)}")


def _split_fragment(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*A fine film, funny and warm*: *as it is a fine film, it is funny and warm*."""
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
            return _with(_CONTRASTING if contrast else _ADDING, opening), declare(right)
    return None


def _frame(tokens: list[Token]) -> tuple[Sequence[str], str | None] | None:
    """*The film works*: *when you look at it, the film works*."""
    return _FRAMES, declare(tokens)


RULES: dict[str, Rule] = {
    "kept": _keep_subordinate,
    "subordinate": _move_subordinate,
    "conjunct": _subordinate_conjunct,
    "adjunct": _expand_adjunct,
    "preposition": _expand_preposition,
    "opinion": _front_opinion,
    "description": _expand_description,
    "predicate": _split_predicate,
    "fragment": _split_fragment,
    "frame": _frame,
}
