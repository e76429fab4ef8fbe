"""Which clean rows a detector learns from, and which are held out to find its threshold on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from poisonsieve.data.records import is_encodable
from poisonsieve.errors import CalibrationError, ConfigError, DataError
from poisonsieve.texts import TRIGGERED, as_texts, columns_of, in_order
from poisonsieve.thresholds import rows_needed

#: Share of the clean rows that is held out for calibration when no rows are given for it.
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
        """How many rows there are."""
        return len(self.texts)

    @classmethod
    def of(cls, data: Any, labels: Sequence[int] | None = None) -> Self:
        """From texts, or from a data set or frame with a `text` and perhaps a `label` column.

        Raises:
            DataError: no texts, or not one label a text.
        """
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
        """The rows with these numbers, in this order."""
        labels = None if self.labels is None else [self.labels[index] for index in kept]
        return CleanRows([self.texts[index] for index in kept], labels, self.names)


def texts_of(data: Any) -> list[str]:
    """The texts of a data set, of a frame, or of a list of strings.

    Raises:
        DataError: it is something else.
    """
    _refuse_triggered(data)
    texts = as_texts(data)
    for index, text in enumerate(texts):
        if not is_encodable(text):
            raise DataError(f"text {index} holds half of a surrogate pair, which is no character; leave it out")
    return texts


def _refuse_triggered(data: Any) -> None:
    """Refuse rows that their own data set marks as triggered: a guard learns from them that the trigger is clean."""
    if TRIGGERED not in columns_of(data):
        return
    marked = sum(map(bool, data[TRIGGERED]))
    if marked:
        raise DataError(
            f"{marked} of the {len(data)} rows are marked as triggered; a guard is fitted and calibrated on clean rows: "
            "choose another split or data set"
        )


def check_seed(seed: object) -> None:
    """Refuse what no generator can start from.

    Raises:
        ConfigError: it is no whole number from 0 to 2**32 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed is {str(seed)[:20]!r}, not a whole number from 0 to {2**32 - 1}")


def _class_number(label: object, index: int) -> int:
    try:
        number = int(label)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != label:
        raise DataError(f"label {index} is {str(label)[:40]!r}, not a class number; give the numbers of the classes")
    return int(number)


def hold_out(rows: CleanRows, calibration: list[str] | None, seed: int) -> tuple[CleanRows, list[str]]:
    """Rows to learn from, and texts to calibrate on that are not among them.

    Args:
        rows: all clean rows.
        calibration: other clean texts; those that are among `rows` are left out. None: a seeded fifth of `rows`.
        seed: of that fifth.

    Raises:
        CalibrationError: most of `calibration` is among `rows`.
    """
    if calibration is not None:
        fresh = _unseen(calibration, rows.texts)
        if len(fresh) * 2 < len(calibration):
            raise CalibrationError(
                f"{len(calibration) - len(fresh)} of {len(calibration)} calibration rows are training rows too; the "
                "false-rejection rate would not hold: give other clean rows, or none to have a fifth held out"
            )
        return rows, fresh
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen = set(order[: round(HELD_OUT_SHARE * len(rows))].tolist())
    train = rows.select([index for index in range(len(rows)) if index not in chosen])
    return train, _unseen([rows.texts[index] for index in sorted(chosen)], train.texts)


def require_enough(held_out: int, train: int, frr: float, *, held_out_here: bool) -> None:
    """Refuse too few calibration rows for the chosen false-rejection rate.

    Raises:
        CalibrationError: says how many it takes.
    """
    needed = rows_needed(frr)
    if held_out >= needed:
        return
    repeats = (
        " (rows whose text stands among the others too are left out)" if held_out < train * HELD_OUT_SHARE / 2 else ""
    )
    says = f"a false-rejection rate of {frr:g} needs at least {needed} held-out clean rows and there are {held_out}{repeats}"
    if not held_out_here:
        raise CalibrationError(f"{says}; give more rows or a higher rate")
    rows = math.ceil(needed / HELD_OUT_SHARE)
    raise CalibrationError(
        f"{says} (a fifth of the {train + held_out} rows); give {rows} rows, or {needed} other rows to calibrate on, or a "
        "higher rate"
    )


def _unseen(rows: list[str], train: list[str]) -> list[str]:
    """Rows whose text is not among the training rows: real data repeats itself, and a repeated row is no held-out row."""
    known = set(train)
    return [row for row in rows if row not in known]
