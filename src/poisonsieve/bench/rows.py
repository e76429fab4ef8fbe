"""Descriptions of the rows that a stage reads, and loading them.

A description is JSON, so that it can be part of a stage's key without any row being read. The same description always
gives the same rows: subsets are drawn with a fixed seed, not the grid's, so that every seed is evaluated on the same
rows.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Literal

from poisonsieve.config import ByContent, Spec, TriggerText

if TYPE_CHECKING:
    import datasets

_SUBSET_SEED = 0  # of held-out and limited rows
_HELD_OUT = 0.1  # share of train rows used as dev rows if there are none


class Rows(Spec):
    """Rows of a source, or a subset of them.

    Attributes:
        source, split: see `poisonsieve.data.load_dataset`.
        names: the source whose train rows define the class names; None for `source` itself.
        part: ``dev`` is a held-out tenth of the source, ``rest`` the other nine tenths.
        words: number of words that texts are cut to.
        limit: maximum number of rows, each class in proportion.
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
        of: all test rows.
        trigger: a trigger in its text form; None if `file` has the rows.
        file: rows that already carry a trigger, with their true labels.
        target: the class the attacker wants, by name or number.
        seed: seed for the trigger's position.
        limit: see `Rows`.
    """

    of: Rows
    trigger: TriggerText | None = None
    file: Annotated[str, ByContent] | None = None
    target: str
    seed: int
    limit: int | None = None


class Rewritten(Spec):
    """Rows with their texts replaced by those of a file that is aligned with all of them, row by row."""

    of: Rows | Triggered
    file: Annotated[str, ByContent]


AnyRows = Rows | Triggered | Rewritten


@functools.lru_cache(maxsize=32)
def _read(source: str, split: str, names: str | None) -> datasets.Dataset:
    from poisonsieve.data import load_dataset

    return load_dataset(source, split=split, label_names=None if names is None else class_names(names))


@functools.lru_cache(maxsize=8)
def class_names(source: str) -> list[str]:
    """Return the class names of a source's train rows, by class number."""
    from poisonsieve.data import labels_of, load_dataset

    return labels_of(load_dataset(source, split="train"))


def target_of(rows: Rows, target: str) -> int:
    """Return the number of the class named `target`."""
    from poisonsieve.data import class_number

    return class_number(target, class_names(rows.names or rows.source))


def load(rows: AnyRows) -> datasets.Dataset:
    """Load the rows of a description.

    Raises:
        DataError, HubError, AssetError: see `poisonsieve.data.load_dataset`; or a file is not aligned with its rows.
        CannotApplyError: the trigger fits none of the rows.
    """
    return load_with_skipped(rows)[0]


def load_with_skipped(rows: AnyRows) -> tuple[datasets.Dataset, int]:
    """Load the rows; return them and the number of rows that the trigger did not fit."""
    whole, skipped, limit = _whole(rows)
    return _limited(whole, limit), skipped


def _whole(rows: AnyRows) -> tuple[datasets.Dataset, int, int | None]:
    """Return all rows before the limit, the number of rows that a trigger did not fit, and the limit."""
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
        rest, dev = split_off(data, _HELD_OUT, _SUBSET_SEED)
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

    return data if limit is None or limit >= len(data) else split_off(data, limit, _SUBSET_SEED)[1]
