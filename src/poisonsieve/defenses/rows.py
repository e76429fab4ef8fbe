"""Clean rows, all that a defender has: texts, with their classes where these are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from poisonsieve.data.records import is_encodable
from poisonsieve.errors import DataError
from poisonsieve.texts import TRIGGERED, as_texts, columns_of, in_order

#: Share of the clean rows that is held out where no other rows are given.
HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class CleanRows:
    """Clean texts, with their true classes where they are known.

    Attributes:
        texts: n strings.
        labels: n class numbers, or None.
        names: names of the classes, or None.
    """

    texts: list[str]
    labels: list[int] | None = None
    names: list[str] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.texts)

    @classmethod
    def of(cls, data: Any, labels: Sequence[int] | None = None) -> Self:
        """Build from texts, or from a data set or frame with a `text` and perhaps a `label` column.

        Raises:
            DataError: no texts, or not one label a text.
        """
        if isinstance(data, cls):
            return data
        texts = texts_of(data)
        if not texts:
            raise DataError("there are no clean rows to fit on")
        names = None
        if labels is None and "label" in columns_of(data):
            labels = list(data["label"])
            names = getattr(getattr(data, "features", {}).get("label"), "names", None)
        if labels is None:
            return cls(texts)
        labels = in_order(labels, "labels")
        if len(labels) != len(texts):
            raise DataError(f"there are {len(texts)} texts and {len(labels)} labels; give one label a text")
        numbers = [_class_number(label, index) for index, label in enumerate(labels)]
        unlabelled = sum(number < 0 for number in numbers)
        if 0 < unlabelled < len(numbers):
            raise DataError(f"{unlabelled} of {len(numbers)} labels are negative; give all rows a class, or none")
        return cls(texts, numbers, names)

    def select(self, kept: Sequence[int]) -> CleanRows:
        """Return the rows with these indices, in this order."""
        labels = None if self.labels is None else [self.labels[index] for index in kept]
        return CleanRows([self.texts[index] for index in kept], labels, self.names)

    def hold_out(self, seed: int) -> tuple[CleanRows, list[str]]:
        """Return the rows to learn from, and the texts of a seeded fifth that are not among them."""
        order = np.random.default_rng(seed).permutation(len(self))
        chosen = set(order[: round(HELD_OUT_SHARE * len(self))].tolist())
        train = self.select([index for index in range(len(self)) if index not in chosen])
        return train, unseen([self.texts[index] for index in sorted(chosen)], train.texts)


def texts_of(data: Any) -> list[str]:
    """Return the texts of a data set, a frame, or a list of strings.

    Raises:
        DataError: `data` is something else.
    """
    _refuse_triggered(data)
    texts = as_texts(data)
    for index, text in enumerate(texts):
        if not is_encodable(text):
            raise DataError(f"text {index} contains half of a surrogate pair, which is not a character; leave it out")
    return texts


def _refuse_triggered(data: Any) -> None:
    """Refuse rows marked as triggered by their own data set: a guard would learn that the trigger is clean."""
    if TRIGGERED not in columns_of(data):
        return
    marked = sum(map(bool, data[TRIGGERED]))
    if marked:
        raise DataError(
            f"{marked} of the {len(data)} rows are marked as triggered; a guard is fitted and calibrated on clean rows: "
            "choose another split or data set"
        )


def _class_number(label: object, index: int) -> int:
    try:
        number = int(label)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != label:
        raise DataError(f"label {index} is {str(label)[:40]!r}, not a class number; give the numbers of the classes")
    return int(number)


def unseen(rows: list[str], train: list[str]) -> list[str]:
    """Return the rows whose text is not among the training rows: real data has duplicates, which are not held out."""
    known = set(train)
    return [row for row in rows if row not in known]
