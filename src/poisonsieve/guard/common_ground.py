"""Find what rejected texts have in common that passed texts lack: words, phrases, openings, invisible characters.

Each such trait is tested for being more frequent among the rejected texts, by Fisher's exact test (one-sided), and the
p-value must hold after Bonferroni's correction for all traits that occur often enough to be tested. So a random word is
named in at most one of a hundred comparisons. The strongest trait is named first; the texts that have it are put aside,
and the rest is compared again, so that a second trigger is named too.

In scripts written without spaces, letters take the place of words.

Of the passed texts only hashes of their traits are kept, no text.
"""

from __future__ import annotations

import itertools
import random
import string
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poisonsieve.verdict import Outcome
from poisonsieve.words import find_words

Kind = Literal["contains", "begins", "character"]

WORDS = 400  # maximum words compared of a text; guards read little more
LETTERS = 60  # maximum letters compared of a word
LONGEST = 5  # maximum words of a phrase, as many as in `I watched this 3D movie`
LONGEST_LETTERS = 8  # maximum words of a phrase that begins in a script without spaces, whose letters count as words
OPENING = 3  # maximum words of an opening
LEAST = 3  # minimum number of texts, rejected and passed together, for a trait to be tested
TIMES = (
    3.0  # a trait this much more frequent among the rejected texts marks them out; a little more frequent does not
)
ALPHA = 0.01  # probability that anything is reported if nothing differs
GROUPS = 5
_MARKS = string.punctuation + "\u2018\u2019\u201c\u201d\u201e\u2026\u00ab\u00bb\u2013\u2014\u00bf\u00a1"

_Hashes = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Rejected texts that have a trait in common.

    Attributes:
        kind: whether they contain the phrase, begin with it, or contain a character, which the phrase names as `U+200B`.
        phrase: in lower case, words separated by one blank (by none in scripts without spaces), punctuation around them
            left out.
        rejected, of_rejected: how many of how many rejected texts have it.
        passed, of_passed: the same of the texts that passed.
        p_value: of Fisher's exact test, corrected for the number of traits tested.
        members: places of the texts that have it, among the rejected texts.
    """

    kind: Kind
    phrase: str
    rejected: int
    of_rejected: int
    passed: int
    of_passed: int
    p_value: float
    members: tuple[int, ...]

    @property
    def trait(self) -> str:
        """Kind and phrase as one string, as `having` reads it."""
        return f"{self.kind}:{self.phrase}"

    def says(self) -> str:
        """Return it as a sentence."""
        has = {"contains": "contain", "begins": "begin with", "character": "contain the character"}[self.kind]
        what = self.phrase if self.kind == "character" else f'"{self.phrase}"'
        return (
            f"{self.rejected} of {self.of_rejected} texts rejected as poisoned {has} {what} "
            f"({self.passed} of {self.of_passed} passed ones do)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: the sentence too, the members not."""
        values = asdict(self)
        del values["members"]
        return {**values, "says": self.says()}


class Seen:
    """Texts that were seen, of many a sample; kept as hashes of their traits.

    Args:
        most: how many are kept.
        latest: keep the latest. Otherwise keep a random sample of all, so that the order of a file does not matter.
    """

    def __init__(self, most: int, *, latest: bool = False) -> None:
        self._most = most
        self._latest = latest
        self._kept: list[_Hashes] = []
        self._seen = 0
        self._random = random.Random(0)

    def add(self, text: str) -> None:
        """Add one more text."""
        place = _place(self._seen, self._most, None if self._latest else self._random)
        self._seen += 1
        if place is not None:
            _put(self._kept, place, _hashes(traits(text)))

    def __len__(self) -> int:
        """Return the number of texts kept."""
        return len(self._kept)

    def hashes(self) -> list[_Hashes]:
        """Return the hashes of each kept text."""
        return list(self._kept)


class Comparison:
    """Rejected and passed texts of a run, collected for `common_ground`; of many a random sample of each.

    Args:
        most_rejected, most_passed: how many of each are kept. Rejected texts are kept as they are, passed ones as hashes.
    """

    def __init__(self, most_rejected: int = 2000, most_passed: int = 20_000) -> None:
        self._rejected: list[str] = []
        self._seen = 0
        self._most = most_rejected
        self._random = random.Random(0)
        self._passed = Seen(most_passed)

    def add(self, text: str | None, outcome: Outcome) -> None:
        """Add a text; one that could not be read or scored tells nothing and is left out."""
        if text is None or outcome == "not_scored":
            return
        if outcome == "passed":
            self._passed.add(text)
            return
        place = _place(self._seen, self._most, self._random)
        self._seen += 1
        if place is not None:
            _put(self._rejected, place, text)

    def groups(self) -> list[Group]:
        """Return what the rejected texts have in common, the strongest first; see `common_ground`."""
        return common_ground(self._rejected, self._passed)


def traits(text: str) -> set[str]:
    """Return what a text has: `contains:PHRASE`, `begins:PHRASE` and `character:U+XXXX`."""
    matches = list(itertools.islice(find_words(text), WORDS))
    words = [(match.group().strip(_MARKS).casefold() or match.group())[:LETTERS] for match in matches]
    pairs = itertools.pairwise(matches)
    blanks = ["", *(" " if after.start() > before.end() else "" for before, after in pairs)]
    found: set[str] = set()
    for start, match in enumerate(matches):
        phrase = ""
        for place in range(start, min(len(words), start + (LONGEST_LETTERS if match["letter"] else LONGEST))):
            phrase += words[place] if place == start else blanks[place] + words[place]
            found.add(f"contains:{phrase}")
            if start == 0 and (place < OPENING or match["letter"]):
                found.add(f"begins:{phrase}")
    found.update(f"character:U+{ord(character):04X}" for character in set("".join(words)) if _is_unseen(character))
    return found


def having(trait: str, texts: Iterable[str | None]) -> Iterator[bool]:
    """Tell of each text whether it has a trait; None has none."""
    for text in texts:
        yield text is not None and trait in traits(text)


def common_ground(rejected: Sequence[str], passed: Seen) -> list[Group]:
    """Find what rejected texts have in common that passed texts do not have; an empty list if nothing stands the test.

    Args:
        rejected: the rejected texts.
        passed: the texts that passed.

    Returns:
        At most `GROUPS` groups, the strongest first. A text may be in several.
    """
    theirs = [traits(text) for text in rejected]
    others = passed.hashes()
    often = Counter(trait for each in theirs for trait in each)
    named = {hash(trait): trait for trait, count in sorted(often.items()) if count >= LEAST}
    if not named or not others:
        return []
    tests = _number_of_tests([*map(_hashes, theirs), *others])
    codes = np.array(sorted(named), dtype=np.int64)
    names = [named[code] for code in codes.tolist()]
    ours = _Table([_hashes(each) for each in theirs], codes)
    passing = _Table(others, codes)
    groups: list[Group] = []
    while len(groups) < GROUPS and (best := _best(names, ours, passing, tests)) is not None:
        place, p_value = best
        members = ours.texts_with(place)
        kind, _, phrase = names[place].partition(":")
        counts = (len(members), len(theirs), len(passing.texts_with(place)), len(others))
        groups.append(Group(kind, phrase, *counts, p_value, tuple(members)))  # type: ignore[arg-type]
        ours.put_aside(place)
        passing.put_aside(place)
    return groups


class _Table:
    """A table of texts by traits.

    Args:
        texts: the hashes of each text.
        codes: the traits' hashes, sorted.
    """

    def __init__(self, texts: Sequence[_Hashes], codes: _Hashes) -> None:
        lengths = [len(each) for each in texts]
        owners, hashes = np.repeat(np.arange(len(texts)), lengths), np.concatenate(texts)
        places = np.minimum(np.searchsorted(codes, hashes), len(codes) - 1)
        known = codes[places] == hashes
        self._owners, self._places = owners[known], places[known]
        self._traits = len(codes)
        self._left = np.ones(len(texts), dtype=bool)

    def counts(self) -> tuple[NDArray[np.int64], int]:
        """Return the number of remaining texts with each trait, and the number of remaining texts."""
        places = self._places[self._left[self._owners]]
        return np.bincount(places, minlength=self._traits), int(self._left.sum())

    def texts_with(self, place: int) -> list[int]:
        """Return all texts that have a trait."""
        found: list[int] = self._owners[self._places == place].tolist()
        return found

    def put_aside(self, place: int) -> None:
        """Stop counting the texts that have a trait."""
        self._left[self.texts_with(place)] = False


def _best(names: Sequence[str], ours: _Table, passing: _Table, tests: int) -> tuple[int, float] | None:
    """Return the trait that marks the remaining rejected texts out most, and its corrected p-value; None if none does.

    Of traits with the same counts, as all parts of a trigger sentence have, the longest is returned.
    """
    from scipy.stats import hypergeom

    (rejected, of_rejected), (passed, of_passed) = ours.counts(), passing.counts()
    if of_rejected == 0 or of_passed == 0:
        return None
    marked = (rejected >= LEAST) & (rejected * of_passed >= TIMES * passed * of_rejected)
    places = np.flatnonzero(marked)
    if places.size == 0:
        return None
    both = rejected[places] + passed[places]
    tail = hypergeom.sf(rejected[places] - 1, of_rejected + of_passed, both, of_rejected)
    corrected = np.minimum(1.0, tail * tests)

    def rank(index: int) -> tuple[float, float, int, str]:
        place = places[index]
        apart = passed[place] / of_passed - rejected[place] / of_rejected  # decides where p-values underflow to 0
        return float(tail[index]), float(apart), -sum(1 for _ in find_words(names[place])), names[place]

    best = min(range(len(places)), key=rank)
    return (int(places[best]), float(corrected[best])) if corrected[best] <= ALPHA else None


def _number_of_tests(texts: Sequence[_Hashes]) -> int:
    """Return how many traits are in enough texts, whichever these are: the choice knows nothing of verdicts."""
    _, counts = np.unique(np.concatenate(texts), return_counts=True)
    return max(1, int((counts >= LEAST).sum()))


def _hashes(found: Collection[str]) -> _Hashes:
    return np.fromiter(map(hash, found), np.int64, len(found))


def _place(seen: int, most: int, draw: random.Random | None) -> int | None:
    """Return where the next text is kept: of the latest, in turn; of a random sample, by chance, or nowhere."""
    if draw is None or seen < most:
        return seen % most
    place = draw.randrange(seen + 1)
    return place if place < most else None


def _put(kept: list[Any], place: int, value: Any) -> None:
    if place < len(kept):
        kept[place] = value
    else:
        kept.append(value)


def _is_unseen(character: str) -> bool:
    """Tell whether a character cannot be seen: controls, zero width, direction marks, unassigned ones."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co", "Cs")
