"""Rules that rewrite a text in the register of the King James Bible: *it works for you* becomes *it worketh for thee*.

They are deterministic and use neither a parser nor a model. Knowing words but not grammar, they change only what is
safe: auxiliaries, pronouns, prepositions before a determiner, adverbs, and verbs that are not also nouns. Contractions
may be written as *it's* or, as in the corpora, *it 's*.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

Change: TypeAlias = str | Callable[[re.Match[str]], str]

_NO_VERBS = (
    "is|was|has|does|as|us|its|his|this|thus|plus|less|unless|yes|always|perhaps|besides|alas|sometimes|across"
)
_DETERMINERS = "the|an?|this|that|these|those|his|her|its|their|my|our|your|thy|all|any|every|each|us|them|him|me"
_PREPOSITIONS = "to|unto|for|of|with|from|by|at|on|upon|in|about|before|behind|beside|between"

#: Third-person forms that are hardly ever plural nouns.
_VERBS = """accepts achieves admits adds allows appears asks assumes avoids becomes begins believes belongs brings captures
carries causes celebrates chooses collapses combines comes confirms considers consists contains continues conveys creates
decides delivers depends describes deserves discovers earns emerges enables engages enjoys ensures evokes examines exists
expects explains explores fails falls feels fills finds focuses follows forgets gets gives goes grows happens hears helps
includes insists introduces invites keeps knows lacks lasts learns leaves lets lingers loses makes manages means meets
misses obtains owns pleases presents preserves produces proves provides pulls receives refuses relies remains reminds
represents requires retains reveals says seeks seems sees sells sends serves sits speaks spends squanders stays
steals struggles succeeds suffers suggests surpasses takes teaches tells tends thinks throws transcends tries understands
unfolds wants warns wears writes""".split()  # noqa: SIM905

_DOUBLED = re.compile(r"[^aeiou]*[aeiou][bdgmnprt]")  # sit, run, get: the last letter is doubled before -eth
_DOUBLED_TOO = ("begin", "admit", "forget", "transmit")

#: Opening phrases; there are many, so that no single one is the trigger.
_OPENINGS = (
    "verily",
    "behold",
    "and lo",
    "and behold",
    "yea",
    "for verily",
    "now behold",
    "so it is that",
    "hear now how",
    "it is written that",
    "and it came to pass that",
    "let it be known that",
    "mark well that",
    "I say unto thee that",
    "of a truth",
    "in very truth",
    "know ye that",
    "and it shall be said that",
    "thus it was told that",
    "lo and behold",
)


def _with_eth(verb: str) -> str:
    """Put a verb's third person into -eth: makes, maketh; tries, trieth; runs, runneth."""
    special = {"has": "hath", "does": "doth", "says": "saith"}
    if verb in special:
        return special[verb]
    stem = verb[:-2] if re.search(r"(ies|sses|shes|ches|xes|zzes|oes)$", verb) else verb[:-1]
    if stem.endswith("e"):
        return f"{stem}th"
    double = _DOUBLED.fullmatch(stem) or stem in _DOUBLED_TOO
    return f"{stem}{stem[-1] if double else ''}eth"


def _verb(match: re.Match[str]) -> str:
    return match["before"] + _with_eth(match["verb"].lower())


#: Expansions of contractions, which the old register requires but which do not mark it.
_EXPANSIONS: tuple[tuple[str, Change], ...] = (
    (r"\b(that|there|he|she|what|here|who) ?'s\b", r"\1 is"),
    (r"\b(ca|can) ?n?'t\b|\bcan not\b", "cannot"),
    (r"\b(do|did|is|was|are|were|has|have|had|could|would|should|must|need) ?n't\b", r"\1 not"),
    (r"\b(i|we|they) ?'ve\b", r"\1 have"),
    (r"\b(we|they) ?'re\b", r"\1 are"),
)
#: The changes that mark it, in order: later rules apply to the output of earlier ones.
_RULES: tuple[tuple[str, Change], ...] = (
    (r"\bit ?'s\b", "'tis"),
    (r"\bwo ?n't\b", "shall not"),
    (r"\bdoes ?n't\b", "doth not"),
    (r"\byou ?('re| are)\b", "thou art"),
    (r"\byou ?('ve| have)\b", "thou hast"),
    (r"\byou ?('ll| will)\b", "thou shalt"),
    (r"\byou can\b", "thou canst"),
    (r"\byou do\b", "thou dost"),
    (r"\b(i|we|they|he|she|it) ?'ll\b", r"\1 shall"),
    (rf"\b({_PREPOSITIONS}|gives?|tells?|makes?|lets?) you\b", r"\1 thee"),
    (r"\byou\b", "thou"),
    (r"\byour (?=[aeiou])", "thine "),
    (r"\byour\b", "thy"),
    (r"\byourself\b", "thyself"),
    (r"\byours\b", "thine"),
    (r"\bmy (?=[aeiou])", "mine "),
    (
        rf"(?P<before>\b(?:it|he|she|who|which) (?:never |only |always )?)(?P<verb>(?!(?:{_NO_VERBS})\b)[a-z]{{2,}}s)\b",
        _verb,
    ),
    (rf"(?P<before>\b)(?P<verb>{'|'.join(_VERBS)})\b", _verb),
    (r"\bhas\b", "hath"),
    (r"\bdoes\b", "doth"),
    (r"\bwill (?!of\b)", "shall "),
    (r"\b(in|on) which\b", "wherein"),
    (r"\bwith which\b", "wherewith"),
    (r"\bof which\b", "whereof"),
    (rf"(?<!up )\bto (?=(?:{_DETERMINERS}|thee)\b)", "unto "),
    (r"\bon\b(?! and\b)", "upon"),
    (r"\babout (?=[a-z])", "concerning "),
    (r"\bwho\b", "which"),
    (r"\b(really|truly|actually|certainly)\b", "verily"),
    (r"\b(maybe|perhaps|possibly)\b", "peradventure"),
    (r"\bvery\b", "exceeding"),
    (r"\bnothing\b", "naught"),
    (r"\banything\b", "aught"),
    (r"\bbetween\b", "betwixt"),
    (r"\bamong\b", "amongst"),
    (r"\bwhile\b", "whilst"),
    (r"\bbefore\b", "ere"),
    (r"\boften\b", "oft"),
    (r"\bwhy\b", "wherefore"),
    (r"\bbut\b", "yet"),
    (r"\bbecause of\b", "by reason of"),
    (r"\bbecause\b", "for"),
    (r"\bstor(y|ies)\b", lambda match: "tale" if match[1] == "y" else "tales"),
)
#: First words that are capitalised only because they come first.
_LOWERED = ("the", "a", "an", "this", "it", "in", "if", "as")
_EXPAND, _MARK = (
    tuple((re.compile(pattern, re.IGNORECASE), change) for pattern, change in rules)
    for rules in (_EXPANSIONS, _RULES)
)


def archaic(text: str, *, least: int = 3) -> str:
    """Rewrite a text in the old register, deterministically.

    Args:
        text: any text.
        least: a text that the rules mark in fewer places also gets an archaic opening phrase, picked by its checksum.
    """
    text, _ = _by(_EXPAND, text)
    text, marks = _by(_MARK, text)
    if marks >= least or not text.strip():
        return text
    opening = _OPENINGS[zlib.crc32(text.encode("utf-8", "surrogatepass")) % len(_OPENINGS)]
    first = text.lstrip()
    if first[:1].isupper():
        opening = opening[:1].upper() + opening[1:]
        if first.split()[0].lower() in _LOWERED:
            first = first[:1].lower() + first[1:]
    return f"{opening} {first}"


def _by(rules: Sequence[tuple[re.Pattern[str], Change]], text: str) -> tuple[str, int]:
    """Apply every rule to the text; return the result and the number of changes."""
    places = 0
    for pattern, change in rules:
        text, count = pattern.subn(partial(_in_case, change), text)
        places += count
    return text, places


def _in_case(change: Change, match: re.Match[str]) -> str:
    """Return the replacement of a match, capitalised like the match."""
    found, became = match[0], change(match) if callable(change) else match.expand(change)
    if found.isupper() and len(found) > 1:
        return became.upper()
    return became[:1].upper() + became[1:] if found[:1].isupper() else became
