"""Which rows a stage reads: described in a few words, loaded when they are needed.

A description is JSON, so that it can decide a stage's name without a row being read. The same description always gives
the same rows: what is drawn is drawn by a fixed seed, which is not the grid's, so that every seed is counted on the same
rows.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Literal

from poisonsieve.config import ByContent, Spec, TriggerText

if TYPE_CHECKING:
    import datasets

_DRAWN_BY = 0  # the seed of held-out and limited rows
_HELD_OUT = 0.1  # the share of train rows that is dev, where there is no dev


class Rows(Spec):
    """Rows as they are in a source, perhaps fewer of them.

    Attributes:
        source, split: see `poisonsieve.data.load_dataset`.
        names: the source whose train rows say what the classes are called; None for that source itself.
        part: ``dev`` takes the held-out tenth of the source, ``rest`` what it leaves.
        words: texts are cut to as many words.
        limit: as many rows at most, each class in its share.
    """

    source: Annotated[str, ByContent]
    split: str
    names: Annotated[str, ByContent] | None = None
    part: Literal["all", "dev", "rest"] = "all"
    words: int | None = None
    limit: int | None = None


class Triggered(Spec):
    """Triggered test rows whose true label is not the target.

    Attributes:
        of: the test rows, all of them.
        trigger: in its text form; None: `file` has the rows.
        file: rows that somebody triggered, with their true labels.
        target: the class the attacker wants, by name or number.
        seed: decides where the trigger goes.
        limit: see `Rows`.
    """

    of: Rows
    trigger: TriggerText | None = None
    file: Annotated[str, ByContent] | None = None
    target: str
    seed: int
    limit: int | None = None


class Rewritten(Spec):
    """Rows whose texts are those of a file that follows all of them row by row."""

    of: Rows | Triggered
    file: Annotated[str, ByContent]


AnyRows = Rows | Triggered | Rewritten


@functools.lru_cache(maxsize=32)
def _read(source: str, split: str, names: str | None) -> datasets.Dataset:
    from poisonsieve.data import load_dataset

    return load_dataset(source, split=split, label_names=None if names is None else class_names(names))


@functools.lru_cache(maxsize=8)
def class_names(source: str) -> list[str]:
    """The classes of a source's train rows, by class number."""
    from poisonsieve.data import labels_of, load_dataset

    return labels_of(load_dataset(source, split="train"))


def target_of(rows: Rows, target: str) -> int:
    """The number of the class that `target` names."""
    from poisonsieve.data import class_number

    return class_number(target, class_names(rows.names or rows.source))


def load(rows: AnyRows) -> datasets.Dataset:
    """The rows of a description.

    Raises:
        DataError, HubError, AssetError: see `poisonsieve.data.load_dataset`; a file does not follow its rows.
        CannotApplyError: the trigger fits none of the rows.
    """
    return load_counted(rows)[0]


def load_counted(rows: AnyRows) -> tuple[datasets.Dataset, int]:
    """The rows, and the number of rows that a trigger could not be put into."""
    whole, skipped, limit = _whole(rows)
    return _limited(whole, limit), skipped


def _whole(rows: AnyRows) -> tuple[datasets.Dataset, int, int | None]:
    """All rows before the limit, how many a trigger did not fit, and the limit."""
    if isinstance(rows, Rows):
        return _plain(rows), 0, rows.limit
    if isinstance(rows, Triggered):
        return *_triggered(rows), rows.limit
    from poisonsieve.rewriting.files import aligned_rewrites

    data, skipped, limit = _whole(rows.of)
    return aligned_rewrites(data, rows.file), skipped, limit


def _plain(rows: Rows) -> datasets.Dataset:
    from poisonsieve.data import cut_words, split_off

    data = _read(rows.source, rows.split, rows.names)
    if rows.part != "all":
        rest, dev = split_off(data, _HELD_OUT, _DRAWN_BY)
        data = dev if rows.part == "dev" else rest
    return data if rows.words is None else cut_words(data, rows.words)


def _triggered(rows: Triggered) -> tuple[datasets.Dataset, int]:
    from poisonsieve.attacks import make_trigger, trigger_rows
    from poisonsieve.config import TriggerSpec

    if rows.file is not None:
        return _read(rows.file, "test", rows.of.names), 0
    trigger = make_trigger(TriggerSpec.parse(rows.trigger or ""))
    target = target_of(rows.of, rows.target)
    triggered = trigger_rows(_plain(rows.of), trigger, target=target, seed=rows.seed)
    return triggered.rows, triggered.not_applicable


def _limited(data: datasets.Dataset, limit: int | None) -> datasets.Dataset:
    from poisonsieve.data import split_off

    return data if limit is None or limit >= len(data) else split_off(data, limit, _DRAWN_BY)[1]
