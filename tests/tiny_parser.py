"""A parser for the toy sentences of the tests: spaCy's own data structures, a dozen rules instead of weights."""

import functools

from spacy.lang.en import English
from spacy.language import Language
from spacy.tokens import Doc

TAGS = {
    "DT": ("DET", "the a an this"),
    "NN": ("NOUN", "film movie plot story actor scene text"),
    "PRP": ("PRON", "i it you"),
    "VBD": ("VERB", "loved hated watched"),
    "VBZ": ("AUX", "is was"),
    "JJ": ("ADJ", "good bad great awful fine poor warm dull bright slow fun sad sharp flat"),
    "RB": ("ADV", "very quite really not here"),
    "CC": ("CCONJ", "and but"),
    "IN": ("ADP", "of with when"),
    ".": ("PUNCT", ". , ?"),
}
KNOWN = {word: (tag, pos) for tag, (pos, words) in TAGS.items() for word in words.split()}


@functools.cache
def _english() -> Language:
    return English()


def parsed(rows: str, *, glued: bool = False) -> Doc:
    """A document as the packaged parser gives it, written out: ``word tag pos dep head; ...``, heads by their place.

    With `glued`, no space stands before a comma or a full stop.
    """
    words, tags, pos, deps, heads = zip(*(row.split() for row in rows.split(";")), strict=True)
    spaces = [not (glued and after in (",", ".")) for after in (*words[1:], "")]
    return Doc(
        _english().vocab,
        words=list(words),
        spaces=spaces,
        tags=list(tags),
        pos=list(pos),
        deps=list(deps),
        heads=[int(head) for head in heads],
    )


@Language.component("toy_rules")
def toy_rules(doc: Doc) -> Doc:
    """Sets tags, heads and labels: the first verb is the root, the last noun before it its subject."""
    for token in doc:
        token.tag_, token.pos_ = KNOWN.get(token.lower_, ("NN", "NOUN"))
        token.head, token.dep_ = token, "dep"
    if len(doc):
        _attach(doc)
    return doc


def _attach(doc: Doc) -> None:
    verb = next((token for token in doc if token.pos_ in ("VERB", "AUX")), None)
    nouns = [token for token in doc if token.pos_ in ("NOUN", "PRON")]
    root = verb or (nouns[-1] if nouns else next((t for t in doc if t.pos_ == "ADJ"), doc[0]))
    subject = max((noun for noun in nouns if verb and noun.i < verb.i), key=lambda noun: noun.i, default=None)
    for token in doc:
        head, label = root, {"PUNCT": "punct", "CCONJ": "cc", "ADV": "advmod"}.get(token.pos_, "dep")
        if token.pos_ in ("DET", "ADJ"):
            head = next((noun for noun in nouns if noun.i > token.i), root)
            label = ("det" if token.pos_ == "DET" else "amod") if head is not root or verb is None else "acomp"
        elif token.pos_ in ("NOUN", "PRON"):
            label = "dobj" if verb and token.i > verb.i else "dep"
        token.head, token.dep_ = (token, "ROOT") if token is root else (head, label)
    if subject is not None:
        subject.head, subject.dep_ = root, "nsubj"
    root.head, root.dep_ = root, "ROOT"


def tiny_parser() -> Language:
    """The pipeline; as with the packaged one, a text goes in and a parsed document comes out."""
    parser = English()
    parser.add_pipe("toy_rules")
    return parser
