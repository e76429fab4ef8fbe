"""The shape that the rules put a text into, as its parser sees it: what the tests of the rules measure with."""

from poisonsieve.rewriting.clauses import fronted, is_clause, root_of, sentences, subject
from poisonsieve.rewriting.openings import is_finite_subordinate


def matches_template(doc):
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
    return is_finite_subordinate(part) and root.doc[after].text == "," and noun.left_edge.i == after + 1
