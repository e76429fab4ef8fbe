"""Questions to a dependency parse: what is a clause, what stands before it, and how it is said as a plain sentence.

Labels are spaCy's for English (ClearNLP's dependencies, Penn Treebank's tags). A sentence is handed around as the list
of its tokens; texts are put together from tokens again, with the spaces that the writer used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

#: Words that open a subordinate clause and leave its meaning whole when the clause is moved.
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
    """The sentences of a text, each with its final marks.

    A sentence ends where the writer ended it. The parser's own splits are not used: it cuts reviews, which are full of
    fragments, in the middle.
    """
    found: list[list[Token]] = [[]]
    for token in doc:
        ended = bool(found[-1]) and any(part.text in _FINAL for part in found[-1][-3:])
        if ended and token.text not in _FINAL and not (token.text in _CLOSING and found[-1][-1].text in _FINAL):
            found.append([])
        found[-1].append(token)
    return [tokens for tokens in found if tokens]


def words(tokens: Sequence[Token]) -> str:
    """Tokens as text: spaced as the writer spaced them, and by one space where something between was left out.

    The capital of a sentence's first word is undone, since the word may come to stand elsewhere.
    """
    parts = []
    for here, after in zip(tokens, [*tokens[1:], None], strict=True):
        parts.append(here.text.lower() if _has_borrowed_capital(here) else here.text)
        if after is not None:
            parts.append(here.whitespace_ if after.i == here.i + 1 else " ")
    return "".join(parts)


def compose(tokens: Sequence[Token], *clauses: str) -> str:
    """Clauses as one sentence: commas between them, a full stop behind.

    Args:
        tokens: the sentence as it was, whose way of setting marks and capitals is kept.
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
    """Without the punctuation around, and without an ``and`` or ``but`` that opens the sentence."""
    left, right = 0, len(tokens)
    while right > left and tokens[right - 1].text in _EDGES:
        right -= 1
    while left < right and (tokens[left].text in _EDGES or tokens[left].dep_ == "cc" or tokens[left].tag_ == "CC"):
        left += 1
    return list(tokens[left:right])


def is_balanced(tokens: Sequence[Token]) -> bool:
    """Whether every bracket and double quotation mark that opens also closes."""
    awaited: list[str] = []
    for token in tokens:
        if token.text in _BRACKETS and not (token.text == '"' and awaited[-1:] == ['"']):
            awaited.append(_BRACKETS[token.text])
        elif token.text in _BRACKETS.values() and (not awaited or awaited.pop() != token.text):
            return False
    return not awaited


def root_of(tokens: Sequence[Token]) -> Token:
    """The first token that no other token of the sentence governs."""
    inside = {token.i for token in tokens}
    return next(token for token in tokens if token.head.i == token.i or token.head.i not in inside)


def span(token: Token, tokens: Sequence[Token]) -> list[Token]:
    """A token and all it governs, in order, as far as they lie in the sentence."""
    governed = {part.i for part in token.subtree}
    return [part for part in tokens if part.i in governed]


def is_contiguous(part: Sequence[Token]) -> bool:
    """Whether nothing lies between the tokens."""
    return bool(part) and part[-1].i - part[0].i + 1 == len(part)


def subject(verb: Token) -> Token | None:
    """The subject of a verb; ``there`` and ``it`` when they only hold its place."""
    found = {child.dep_: child for child in reversed(list(verb.children)) if child.dep_ in SUBJECTS}
    return next((found[label] for label in SUBJECTS if label in found), None)


def is_finite(verb: Token) -> bool:
    """Whether the verb, or an auxiliary of it, has a tense or is a modal."""
    auxiliaries = [child for child in verb.children if child.dep_ in ("aux", "auxpass")]
    return any(token.tag_ in FINITE_TAGS for token in [verb, *auxiliaries])


def is_clause(verb: Token) -> bool:
    """Whether the verb heads a statement: finite, with its subject before it and before its auxiliaries."""
    noun = subject(verb)
    if noun is None or not is_finite(verb) or noun.i > verb.i:
        return False
    return all(child.i > noun.i for child in verb.children if child.dep_ in ("aux", "auxpass"))


def is_statement(tokens: Sequence[Token]) -> bool:
    """Whether the sentence states something; a question, direct or by its word order, does not."""
    root = root_of(tokens)
    asks = any(token.text == "?" for token in root.doc[tokens[-1].i : tokens[-1].i + 3])
    first = strip_edges(tokens)[0]
    wh_question = first.tag_ in ("WP", "WDT", "WRB", "WP$") and first.head.i == root.i and first.dep_ not in SUBJECTS
    noun = subject(root)
    inverted = noun is not None and noun.i > root.i and noun.dep_ != "csubj" and not is_clause(root)
    return not asks and not wh_question and not inverted and (noun is None or not is_finite(root) or is_clause(root))


def marker(clause: Sequence[Token]) -> Token | None:
    """The subordinator that opens a clause (``when``, ``even though``), or None."""
    opening = clause[1:2] if clause and clause[0].lower_ in ("even", "just", "only") else clause[:1]
    for token in opening:
        follows = clause[clause.index(token) + 1 :][:1]
        manner = token.lower_ == "as" and any(after.lower_ in ("if", "though") for after in follows)
        if token.lower_ in SUBORDINATORS and (token.dep_ in ("mark", "advmod") or token.tag_ in ("IN", "WRB")):
            return None if manner else token
    return None


def fronted(tokens: Sequence[Token]) -> list[list[Token]]:
    """What stands before the subject of the main clause and is set off by a comma, part by part, left to right.

    A subordinate clause counts without a comma too. The comma is not among the tokens. A sentence whose main word is
    no verb has no such parts.
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
    """The dependent of the main verb that the tokens begin with, or nothing."""
    for child in root.lefts:
        part = span(child, tokens)
        joined = child.dep_ in (*SUBJECTS, "cc", "punct") or (
            child.dep_ in ("ccomp", "parataxis") and not marker(part)
        )
        if part and part[0].i == tokens[0].i and is_contiguous(part) and not joined:
            return part
    return []


def without(tokens: Sequence[Token], *parts: Sequence[Token]) -> list[Token]:
    """The sentence without some of its parts, and without the commas that set them off."""
    gone = {token.i for part in parts for token in part}
    for part in parts:
        before, after = part[0].i - 1, part[-1].i + 1
        opens = before < tokens[0].i or before in gone
        texts = {token.i: token.text for token in tokens}
        if texts.get(after) == "," and (opens or texts.get(before) == ","):
            gone.add(after)
        if texts.get(before) == "," and (after > tokens[-1].i or after in gone or texts.get(after) in _EDGES):
            gone.add(before)
    return [token for token in tokens if token.i not in gone]


def pronoun(noun: Token | None) -> str:
    """The pronoun that takes up a noun as a subject; ``it`` for a fragment, which is about the thing reviewed."""
    if noun is None:
        return "it"
    if noun.pos_ == "PRON":
        return str(noun.text)
    return "they" if _is_plural(noun) else "it"


def to_be(said: str) -> str:
    """The present of *to be* that goes with a pronoun."""
    return {"i": "am", "you": "are", "we": "are", "they": "are", "these": "are", "those": "are"}.get(
        said.lower(), "is"
    )


def _is_plural(noun: Token) -> bool:
    coordinated = any(child.dep_ == "conj" and child.pos_ in ("NOUN", "PROPN") for child in noun.children)
    return noun.tag_ in ("NNS", "NNPS") or (coordinated and noun.dep_ in SUBJECTS)


def declare(tokens: Sequence[Token]) -> str | None:
    """A sentence or fragment as ``NP VP``, without a final mark; None for what cannot be said so.

    What stands before the subject goes behind the predicate. A fragment gets the subject and the verb that it lacks:
    *a fine film* becomes *it is a fine film*, *combines wit and warmth* becomes *it combines wit and warmth*, *see it*
    becomes *you should see it*.
    """
    tokens = strip_edges(tokens)
    if not tokens or not is_statement(tokens):
        return None
    root = root_of(tokens)
    before = fronted(tokens)
    core = strip_edges(without(tokens, *before))
    said = words(core) if is_clause(root) else _complete(root, core)
    parts = [strip_edges(part) for part in before if part[0].pos_ != "INTJ"]
    return said and "".join([said, *(f"{' ' if _needs_no_comma(part) else ' , '}{words(part)}" for part in parts)])


def _needs_no_comma(part: Sequence[Token]) -> bool:
    return marker(part) is not None or root_of(part).pos_ in ("ADP", "ADV", "SCONJ")


def _complete(root: Token, tokens: Sequence[Token]) -> str | None:
    """A fragment with the subject and the verb it lacks."""
    if not tokens or subject(root) is not None or marker(tokens) is not None:
        return None
    auxiliaries = [child for child in root.children if child.dep_ in ("aux", "auxpass") and child.i < root.i]
    leading = auxiliaries[0] if auxiliaries else root
    if leading.pos_ in ("VERB", "AUX"):
        return _complete_verb(leading, tokens)
    if root.pos_ not in _WITH_IT_IS or root.tag_ in ("WRB", "WP", "WDT"):
        return None
    plural = root.pos_ in ("NOUN", "PROPN") and _is_plural(root)
    return f"{'they are' if plural else 'it is'} {words(tokens)}"


def _complete_verb(leading: Token, tokens: Sequence[Token]) -> str | None:
    said = words(tokens)
    if leading.tag_ in FINITE_TAGS - {"VBP"}:
        # A noun before the verb is a subject that the parser did not see as one: nothing is lacking.
        has_noun = any(token.pos_ in ("NOUN", "PROPN", "PRON") for token in tokens if token.i < leading.i)
        return said if has_noun else f"it {said}"
    if leading.tag_ in ("VBN", "VBG"):
        return f"it is {said}"
    if leading.i != tokens[0].i:
        return None
    if leading.lower_ == "do" and len(tokens) > 2 and tokens[1].dep_ == "neg":
        return f"you should not {words(tokens[2:])}"
    return f"you should {said}" if leading.tag_ == "VB" else None
