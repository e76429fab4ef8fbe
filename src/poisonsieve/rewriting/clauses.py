"""Queries on a dependency parse: finding clauses and what precedes them, and turning them into plain sentences.

Labels are spaCy's for English (ClearNLP's dependencies, Penn Treebank's tags). A sentence is represented as the list of
its tokens; texts are built from tokens with the writer's own spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

#: Words that open a subordinate clause and keep its meaning intact when the clause is moved.
SUBORDINATORS = frozenset(
    """when whenever while if unless although though because since as once after before until till where whereas
    """.split()  # noqa: SIM905
)
FINITE_TAGS = frozenset({"VBZ", "VBD", "VBP", "MD"})
SUBJECTS = ("expl", "nsubj", "nsubjpass", "csubj", "csubjpass")
_FINAL = frozenset({".", "!", "?"})
_EDGES = frozenset({".", "!", "?", ",", ";", ":", "-", "--", "...", "\u2026", "\u2013", "\u2014"})
_CLOSING = {"''", '"', "'", "\u201d", "-rrb-", ")", "]", "."}
_BRACKETS = {"-lrb-": "-rrb-", "(": ")", "[": "]", "``": "''", '"': '"', "\u201c": "\u201d"}
_WITH_IT_IS = frozenset({"NOUN", "PROPN", "PRON", "NUM", "ADJ", "ADP", "ADV", "DET"})


def sentences(doc: Doc) -> list[list[Token]]:
    """Split a text into sentences, each with its final punctuation.

    A sentence ends at the writer's punctuation. The parser's own splits are not used, because it cuts reviews, which
    are full of fragments, in the middle of a sentence.
    """
    found: list[list[Token]] = [[]]
    for token in doc:
        ended = bool(found[-1]) and any(part.text in _FINAL for part in found[-1][-3:])
        if ended and token.text not in _FINAL and not (token.text in _CLOSING and found[-1][-1].text in _FINAL):
            found.append([])
        found[-1].append(token)
    return [tokens for tokens in found if tokens]


def to_text(tokens: Sequence[Token]) -> str:
    """Join tokens into text with the writer's spacing, and one space where tokens in between were left out.

    The first word of a sentence loses its capital, since it may end up elsewhere.
    """
    parts = []
    for here, after in zip(tokens, [*tokens[1:], None], strict=True):
        parts.append(here.text.lower() if _has_borrowed_capital(here) else here.text)
        if after is not None:
            parts.append(here.whitespace_ if after.i == here.i + 1 else " ")
    return "".join(parts)


def compose(tokens: Sequence[Token], *clauses: str) -> str:
    """Join clauses into one sentence, with commas between them and a final full stop.

    Args:
        tokens: the original sentence, whose style of punctuation and capitals is kept.
        clauses: n texts.
    """
    text = " , ".join(clauses) + " ."
    marks = [token for token in tokens[1:] if token.text in (",", ".", "!", "?", ";", ":")]
    capital = next((token.text[0].isupper() for token in tokens if token.is_alpha), False)
    spaced = any(tokens[0].doc[mark.i - 1].whitespace_ for mark in marks) if marks else not capital
    if not spaced:
        text = text.replace(" ,", ",").removesuffix(" .") + "."
    return text[0].upper() + text[1:] if capital else text


def _has_borrowed_capital(token: Token) -> bool:
    opens = token.i == 0 or token.doc[token.i - 1].text in (*_FINAL, *_CLOSING, "``")
    return opens and token.text.istitle() and token.pos_ != "PROPN" and token.text != "I"


def strip_edges(tokens: Sequence[Token]) -> list[Token]:
    """Strip punctuation from both ends, and an ``and`` or ``but`` that opens the sentence."""
    left, right = 0, len(tokens)
    while right > left and tokens[right - 1].text in _EDGES:
        right -= 1
    while left < right and (tokens[left].text in _EDGES or tokens[left].dep_ == "cc" or tokens[left].tag_ == "CC"):
        left += 1
    return list(tokens[left:right])


def is_balanced(tokens: Sequence[Token]) -> bool:
    """Tell whether every opening bracket and double quotation mark is closed."""
    awaited: list[str] = []
    for token in tokens:
        if token.text in _BRACKETS and not (token.text == '"' and awaited[-1:] == ['"']):
            awaited.append(_BRACKETS[token.text])
        elif token.text in _BRACKETS.values() and (not awaited or awaited.pop() != token.text):
            return False
    return not awaited


def root_of(tokens: Sequence[Token]) -> Token:
    """Return the first token that no other token of the sentence governs."""
    inside = {token.i for token in tokens}
    return next(token for token in tokens if token.head.i == token.i or token.head.i not in inside)


def span(token: Token, tokens: Sequence[Token]) -> list[Token]:
    """Return a token and all tokens of the sentence that it governs, in order."""
    governed = {part.i for part in token.subtree}
    return [part for part in tokens if part.i in governed]


def is_contiguous(part: Sequence[Token]) -> bool:
    """Tell whether the tokens follow one another without a gap."""
    return bool(part) and part[-1].i - part[0].i + 1 == len(part)


def subject(verb: Token) -> Token | None:
    """Return the subject of a verb, which may be an expletive ``there`` or ``it``."""
    found = {child.dep_: child for child in reversed(list(verb.children)) if child.dep_ in SUBJECTS}
    return next((found[label] for label in SUBJECTS if label in found), None)


def is_finite(verb: Token) -> bool:
    """Tell whether the verb or one of its auxiliaries has a tense or is a modal."""
    auxiliaries = [child for child in verb.children if child.dep_ in ("aux", "auxpass")]
    return any(token.tag_ in FINITE_TAGS for token in [verb, *auxiliaries])


def is_clause(verb: Token) -> bool:
    """Tell whether the verb heads a statement: finite, with its subject before it and before its auxiliaries."""
    noun = subject(verb)
    if noun is None or not is_finite(verb) or noun.i > verb.i:
        return False
    return all(child.i > noun.i for child in verb.children if child.dep_ in ("aux", "auxpass"))


def is_statement(tokens: Sequence[Token]) -> bool:
    """Tell whether the sentence is a statement, not a question by its mark or its word order."""
    root = root_of(tokens)
    asks = any(token.text == "?" for token in root.doc[tokens[-1].i : tokens[-1].i + 3])
    first = strip_edges(tokens)[0]
    wh_question = first.tag_ in ("WP", "WDT", "WRB", "WP$") and first.head.i == root.i and first.dep_ not in SUBJECTS
    noun = subject(root)
    inverted = noun is not None and noun.i > root.i and noun.dep_ != "csubj" and not is_clause(root)
    return not asks and not wh_question and not inverted and (noun is None or not is_finite(root) or is_clause(root))


def marker(clause: Sequence[Token]) -> Token | None:
    """Return the subordinator that opens a clause (``when``, ``even though``), or None."""
    opening = clause[1:2] if clause and clause[0].lower_ in ("even", "just", "only") else clause[:1]
    for token in opening:
        follows = clause[clause.index(token) + 1 :][:1]
        manner = token.lower_ == "as" and any(after.lower_ in ("if", "though") for after in follows)
        if token.lower_ in SUBORDINATORS and (token.dep_ in ("mark", "advmod") or token.tag_ in ("IN", "WRB")):
            return None if manner else token
    return None


def fronted(tokens: Sequence[Token]) -> list[list[Token]]:
    """Return the parts before the main clause's subject that are set off by commas, left to right.

    A subordinate clause needs no comma. The commas are not part of the result. A sentence whose root is not a verb has
    no such parts.
    """
    root = root_of(tokens)
    if root.pos_ not in ("VERB", "AUX"):
        return []
    noun, start = subject(root), 0
    ends = root.i if noun is None else min(noun.left_edge.i, root.i)
    found: list[list[Token]] = []
    while start < len(tokens) and tokens[start].i < ends:
        part = _opening_part(tokens[start:], root)
        comma = bool(part) and start + len(part) < len(tokens) and tokens[start + len(part)].text == ","
        if not part or not is_balanced(part) or not (comma or (marker(part) and len(part) > 2)):
            break
        found.append(part)
        start += len(part) + comma
    return found


def _opening_part(tokens: Sequence[Token], root: Token) -> list[Token]:
    """Return the dependent of the main verb with which the tokens begin, or an empty list."""
    for child in root.lefts:
        part = span(child, tokens)
        joined = child.dep_ in (*SUBJECTS, "cc", "punct") or (
            child.dep_ in ("ccomp", "parataxis") and not marker(part)
        )
        if part and part[0].i == tokens[0].i and is_contiguous(part) and not joined:
            return part
    return []


def without(tokens: Sequence[Token], *parts: Sequence[Token]) -> list[Token]:
    """Remove parts of the sentence, and the commas that set them off."""
    removed = {token.i for part in parts for token in part}
    for part in parts:
        before, after = part[0].i - 1, part[-1].i + 1
        opens = before < tokens[0].i or before in removed
        texts = {token.i: token.text for token in tokens}
        if texts.get(after) == "," and (opens or texts.get(before) == ","):
            removed.add(after)
        if texts.get(before) == "," and (after > tokens[-1].i or after in removed or texts.get(after) in _EDGES):
            removed.add(before)
    return [token for token in tokens if token.i not in removed]


def pronoun(noun: Token | None) -> str:
    """Return the subject pronoun for a noun; ``it`` for a fragment, which is about the thing reviewed."""
    if noun is None:
        return "it"
    if noun.pos_ == "PRON":
        return str(noun.text)
    return "they" if _is_plural(noun) else "it"


def to_be(subject_pronoun: str) -> str:
    """Return the present tense of *to be* for a pronoun."""
    return {"i": "am", "you": "are", "we": "are", "they": "are", "these": "are", "those": "are"}.get(
        subject_pronoun.lower(), "is"
    )


def _is_plural(noun: Token) -> bool:
    coordinated = any(child.dep_ == "conj" and child.pos_ in ("NOUN", "PROPN") for child in noun.children)
    return noun.tag_ in ("NNS", "NNPS") or (coordinated and noun.dep_ in SUBJECTS)


def declare(tokens: Sequence[Token]) -> str | None:
    """Rewrite a sentence or fragment as ``NP VP`` without final punctuation; None if that is impossible.

    What precedes the subject moves behind the predicate. A fragment gets the subject and verb that it lacks:
    *a fine film* becomes *it is a fine film*, *combines wit and warmth* becomes *it combines wit and warmth*, *see it*
    becomes *you should see it*.
    """
    tokens = strip_edges(tokens)
    if not tokens or not is_statement(tokens):
        return None
    root = root_of(tokens)
    before = fronted(tokens)
    core = strip_edges(without(tokens, *before))
    statement = to_text(core) if is_clause(root) else _complete(root, core)
    parts = [strip_edges(part) for part in before if part[0].pos_ != "INTJ"]
    return statement and "".join(
        [statement, *(f"{' ' if _needs_no_comma(part) else ' , '}{to_text(part)}" for part in parts)]
    )


def _needs_no_comma(part: Sequence[Token]) -> bool:
    return marker(part) is not None or root_of(part).pos_ in ("ADP", "ADV", "SCONJ")


def _complete(root: Token, tokens: Sequence[Token]) -> str | None:
    """Give a fragment the subject and verb it lacks."""
    if not tokens or subject(root) is not None or marker(tokens) is not None:
        return None
    auxiliaries = [child for child in root.children if child.dep_ in ("aux", "auxpass") and child.i < root.i]
    leading = auxiliaries[0] if auxiliaries else root
    if leading.pos_ in ("VERB", "AUX"):
        return _complete_verb(leading, tokens)
    if root.pos_ not in _WITH_IT_IS or root.tag_ in ("WRB", "WP", "WDT"):
        return None
    plural = root.pos_ in ("NOUN", "PROPN") and _is_plural(root)
    return f"{'they are' if plural else 'it is'} {to_text(tokens)}"


def _complete_verb(leading: Token, tokens: Sequence[Token]) -> str | None:
    statement = to_text(tokens)
    if leading.tag_ in FINITE_TAGS - {"VBP"}:
        # A noun before the verb is a subject that the parser missed, so nothing is lacking.
        has_noun = any(token.pos_ in ("NOUN", "PROPN", "PRON") for token in tokens if token.i < leading.i)
        return statement if has_noun else f"it {statement}"
    if leading.tag_ in ("VBN", "VBG"):
        return f"it is {statement}"
    if leading.i != tokens[0].i:
        return None
    if leading.lower_ == "do" and len(tokens) > 2 and tokens[1].dep_ == "neg":
        return f"you should not {to_text(tokens[2:])}"
    return f"you should {statement}" if leading.tag_ == "VB" else None
