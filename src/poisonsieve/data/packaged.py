"""Real data sets from the package index, so that everything runs without the hub.

`movie-reviews` and `product-reviews` are sentences with the mean rating of twenty readers, published with VADER
(Hutto and Gilbert, ICWSM 2014). The sign of the rating is the class, and rows rated within 0.5 of neutral are left
out. They are not the paper's MR and CR. `topics` has the eight most frequent topics of the Reuters-21578 newswire (R8),
`topics-20` is 20 Newsgroups, both as prepared by A. Cardoso-Cachopo: lower case, letters only.

The splits never change, because they follow from the sha256 of the texts. Reviews are split here, stratified by class.
Topics keep their published test split; dev is a tenth of the published train split. Texts that differ only in case and
punctuation stay in one split (train rows that also occur in a published test split are left out).
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from poisonsieve.assets import fetch
from poisonsieve.errors import AssetError, DataError
from poisonsieve.pinned import REVIEWS, TOPICS

Row = tuple[str, str]  # text, class name
Splits = dict[str, list[Row]]
_NEUTRAL = 0.5  # |mean rating| up to this is neither positive nor negative


@dataclass(frozen=True)
class PackagedSet:
    """A packaged data set: its classes in order, and a function that reads its splits."""

    names: tuple[str, ...]
    read: Callable[[], Splits]


def packaged_names() -> list[str]:
    """Return the names that can follow ``packaged:``."""
    return sorted(SETS)


def load(name: str, split: str) -> tuple[list[str], list[int], list[str]]:
    """Load the texts, class numbers and class names of one split.

    Raises:
        DataError: there is no such data set or split.
        AssetError: the data cannot be fetched or fail verification.
    """
    if name not in SETS:
        raise DataError(f"no packaged data set is called {name!r}; choose from {', '.join(packaged_names())}")
    wanted = SETS[name]
    rows = wanted.read()[split]
    number_of = {label: number for number, label in enumerate(wanted.names)}
    return [text for text, _ in rows], [number_of[label] for _, label in rows], list(wanted.names)


def _reviews(member: str, rows: int, dev: int, test: int) -> Splits:
    """Read one of VADER's files: tab-separated id, mean rating in [-4, 4] and text, in UTF-8 with CR LF line ends."""
    folder = fetch(REVIEWS)
    with tarfile.open(folder / "hutto_ICWSM_2014.tar.gz") as archive:
        stream = archive.extractfile(f"hutto_ICWSM_2014/{member}_GroundTruth.txt")
        lines = io.TextIOWrapper(stream, encoding="utf-8", newline="\r\n").readlines() if stream else []
    found = []
    for line in lines:
        _, rating, text = line.split("\t")
        if abs(float(rating)) > _NEUTRAL:
            found.append((text.strip(), "positive" if float(rating) > 0 else "negative"))
    _require_rows(member, found, rows)
    test_rows, others = divide(found, test)
    dev_rows, train_rows = divide(others, dev)
    return {"train": train_rows, "dev": dev_rows, "test": test_rows}


def _topics(stem: str, train: int, test: int) -> Splits:
    """Read the two published splits: three header lines, then tab-separated topic and text."""
    folder = fetch(TOPICS)
    published = {}
    for split, rows in (("train", train), ("test", test)):
        lines = (folder / f"{stem}-{split}.tab").read_text(encoding="utf-8").split("\n")[3:]
        pairs = [line.split("\t") for line in lines if line]
        published[split] = [(text.strip(), topic) for topic, text in pairs]
        _require_rows(f"{stem}-{split}", published[split], rows)
    seen = {key_of(text) for text, _ in published["test"]}
    others = [row for row in published["train"] if key_of(row[0]) not in seen]
    dev_rows, train_rows = divide(others, len(others) // 10)
    return {"train": train_rows, "dev": dev_rows, "test": _shuffled(published["test"])}


def divide(rows: list[Row], count: int) -> tuple[list[Row], list[Row]]:
    """Split rows into `count` rows and the others, stratified by class, with equal texts on the same side."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key_of(row[0]), []).append(row)
    per_class = Counter(label for _, label in rows)
    taken: list[Row] = []
    room = {label: count * size / len(rows) for label, size in per_class.items()}
    others: list[Row] = []
    for key in sorted(groups, key=_digest):
        group = groups[key]
        label = group[0][1]
        if len(taken) + len(group) <= count and room[label] > 0:
            taken.extend(group)
            room[label] -= len(group)
        else:
            others.extend(group)
    return taken, others


def _shuffled(rows: Iterable[Row]) -> list[Row]:
    """Return the rows in a fixed order that is independent of the class."""
    return sorted(rows, key=lambda row: _digest(key_of(row[0])))


def key_of(text: str) -> str:
    """Return a key that is equal for texts that differ only in case and punctuation."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _require_rows(what: str, rows: list[Row], expected: int) -> None:
    if len(rows) != expected:
        raise AssetError(f"{what} has {len(rows)} rows, not the expected {expected}; report this to poisonsieve")


_REVIEW_CLASSES = ("negative", "positive")
_R8_CLASSES = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
_NEWSGROUPS = (
    "alt.atheism",
    "comp.graphics",
    "comp.os.ms-windows.misc",
    "comp.sys.ibm.pc.hardware",
    "comp.sys.mac.hardware",
    "comp.windows.x",
    "misc.forsale",
    "rec.autos",
    "rec.motorcycles",
    "rec.sport.baseball",
    "rec.sport.hockey",
    "sci.crypt",
    "sci.electronics",
    "sci.med",
    "sci.space",
    "soc.religion.christian",
    "talk.politics.guns",
    "talk.politics.mideast",
    "talk.politics.misc",
    "talk.religion.misc",
)
SETS = {
    "movie-reviews": PackagedSet(_REVIEW_CLASSES, lambda: _reviews("movieReviewSnippets", 10_043, 1_000, 2_000)),
    "product-reviews": PackagedSet(_REVIEW_CLASSES, lambda: _reviews("amazonReviewSnippets", 2_943, 500, 643)),
    "topics": PackagedSet(_R8_CLASSES, lambda: _topics("reuters-r8", 5_485, 2_189)),
    "topics-20": PackagedSet(_NEWSGROUPS, lambda: _topics("20newsgroups", 11_293, 7_528)),
}
