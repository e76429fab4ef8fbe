"""From the labels in a source to class numbers and class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from poisonsieve.data.classes import AmbiguousLabelError, KnownClasses, listing
from poisonsieve.data.label_values import NoLabelError, read_label, truth_name
from poisonsieve.data.records import is_encodable
from poisonsieve.errors import DataError

_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with its label as found.

    Attributes:
        where: ``file:line``.
        text: the text.
        label: as it stands in the source.
        poisoned: whether the row carries a trigger, as it stands in the source; None where nothing is said.
    """

    where: str
    text: str
    label: object
    poisoned: object = None


def encode_labels(rows: Sequence[Labelled], label_names: Sequence[str] | None) -> tuple[list[int], list[str]]:
    """Class number of each row, and the class names.

    Labels are read as `read_label` says. Without `label_names`, whole numbers must be 0 ... K-1 with each number used,
    and name themselves; other strings are classes, sorted with the numbers in them as numbers. With them, a label is
    one of the names, or the number of a class where the names are no numbers themselves: see `KnownClasses`.

    Raises:
        DataError: a label is missing, is neither a whole number nor a string, is negative, or is outside the classes,
            and none of `label_names` is that very number; it may mean two of them; or there are fewer than two classes.
    """
    if label_names is not None:
        return _encode_known(rows, label_names), list(label_names)
    values = [_plain_label(row) for row in rows]
    _refuse_missing(rows, values)
    found = [value for value in values if value is not None]
    if all(isinstance(value, int) for value in found):
        return _encode_numbers(rows, [value for value in found if isinstance(value, int)])
    if all(map(truth_name, found)):  # "true" and True are one class, as they are in a file of either alone
        found = [truth_name(value) or value for value in found]
    for row, value in zip(rows, found, strict=True):
        if isinstance(value, int):
            raise DataError(f"{row.where}: label {value} is a number, but other rows have names; use one kind")
    names = sorted({str(value) for value in found}, key=in_order)
    _require_two(rows, names)
    number_of = {name: number for number, name in enumerate(names)}
    return [number_of[str(value)] for value in found], names


def in_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts names with the numbers in them as numbers: ``LABEL_2`` before ``LABEL_10``."""
    parts = _DIGITS.split(name)
    # Without leading zeros, the longer number is the larger one. Every second part is a number.
    numbers = [part.lstrip("0") if place % 2 else part for place, part in enumerate(parts)]
    return [(len(part) if place % 2 else 0, part) for place, part in enumerate(numbers)], name


def read_flag(value: object, where: str, column: str) -> bool:
    """Whether a column that holds 0 or 1 holds 1.

    Raises:
        DataError: it holds anything else.
    """
    try:
        found = read_label(value)
    except NoLabelError:
        found = None
    flags = {0: False, 1: True, "False": False, "True": True}
    if found not in flags:
        raise DataError(f"{where}: {column} is {str(value)[:40]!r}, not 0 or 1")
    return flags[found]


def encode_positions(rows: Sequence[Labelled], names: Sequence[str]) -> list[int]:
    """Class numbers from labels that are class numbers already, whatever the classes are called: the hub's.

    Raises:
        DataError: one is missing, negative, no whole number, or outside the classes.
    """
    values = [_plain_label(row) for row in rows]
    _refuse_missing(rows, values)
    numbers = []
    for row, value in zip(rows, values, strict=True):
        if not isinstance(value, int) or value >= len(names):
            raise DataError(f"{row.where}: label {str(value)[:40]!r} is no class number from 0 to {len(names) - 1}")
        numbers.append(value)
    return numbers


def _refuse_half_characters(row: Labelled) -> None:
    if isinstance(row.label, str) and not is_encodable(row.label):
        raise DataError(f"{row.where}: label holds half of a surrogate pair, which is no character")


def _plain_label(row: Labelled) -> int | str | None:
    """The label, None if it is missing."""
    _refuse_half_characters(row)
    try:
        label = read_label(row.label)
    except NoLabelError as error:
        raise DataError(f"{row.where}: label {error}") from None
    if isinstance(label, int) and label < 0:
        raise DataError(f"{row.where}: label {label} is negative; classes count from 0 (-1 often means unlabelled)")
    return label


def _refuse_missing(rows: Sequence[Labelled], values: Sequence[int | str | None]) -> None:
    missing = [row for row, value in zip(rows, values, strict=True) if value is None]
    if not missing:
        return
    first, word = missing[0], missing[0].label
    read = f" ({word.strip()} stands for that)" if isinstance(word, str) and word.strip() else ""
    more = f", and in {len(missing) - 1} more of {len(rows)} rows" if len(missing) > 1 else ""
    raise DataError(f"{first.where}: label is missing{read}{more}")


def _encode_known(rows: Sequence[Labelled], names: Sequence[str]) -> list[int]:
    classes = KnownClasses(names)
    numbers = [_known_number(row, classes) for row in rows]
    _refuse_missing(rows, numbers)
    return [number for number in numbers if number is not None]


def _known_number(row: Labelled, classes: KnownClasses) -> int | None:
    """The class a label means, None if it is missing."""
    _refuse_half_characters(row)
    try:
        number = classes.find(row.label)
    except AmbiguousLabelError as error:
        raise DataError(f"{row.where}: label {error}") from None
    if number is None and (value := _plain_label(row)) is not None:
        numbers = "" if classes.are_numbers else f", or 0 to {len(classes.names) - 1}"
        raise DataError(
            f"{row.where}: label {str(value)[:40]!r} is none of the model's classes: {listing(classes.names)}{numbers}"
        )
    return number


def _encode_numbers(rows: Sequence[Labelled], numbers: list[int]) -> tuple[list[int], list[str]]:
    found = sorted(set(numbers))
    names = [str(number) for number in found]
    _require_two(rows, names)
    for position, number in enumerate(found):
        if number != position:
            where = rows[numbers.index(number)].where
            raise DataError(
                f"{where}: label {number}, but no row has label {position}; number the classes from 0 without a gap, "
                "or write their names"
            )
    return numbers, names


def _require_two(rows: Sequence[Labelled], names: Sequence[str]) -> None:
    if len(names) < 2:
        source = rows[0].where.rpartition(":")[0]
        raise DataError(f"{source}: every row has label {names[0]!r}; a classifier needs two classes or more")
