"""Turning the labels of a source into class numbers and class names."""

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
    """A text with its label as found in the source.

    Attributes:
        where: ``file:line``.
        text: the text.
        label: label as in the source.
        poisoned: the source's mark for triggered rows; None if there is none.
    """

    where: str
    text: str
    label: object
    poisoned: object = None


def encode_labels(rows: Sequence[Labelled], label_names: Sequence[str] | None) -> tuple[list[int], list[str]]:
    """Return the class number of each row, and the class names.

    Labels are read by `read_label`. Without `label_names`, whole numbers must be 0 ... K-1, each of them used, and serve
    as names; other strings are class names, sorted with numbers in them by value. With `label_names`, a label is one of
    the names or, where the names are not numbers, the number of a class: see `KnownClasses`.

    Raises:
        DataError: a label is missing, ambiguous, negative, neither a whole number nor a string, or not among the
            classes; or there are fewer than two classes.
    """
    if label_names is not None:
        return _encode_known(rows, label_names), list(label_names)
    values = [_plain_label(row) for row in rows]
    _refuse_missing(rows, values)
    found = [value for value in values if value is not None]
    if all(isinstance(value, int) for value in found):
        return _encode_numbers(rows, [value for value in found if isinstance(value, int)])
    if all(map(truth_name, found)):  # "true" and True are the same class
        found = [truth_name(value) or value for value in found]
    for row, value in zip(rows, found, strict=True):
        if isinstance(value, int):
            raise DataError(f"{row.where}: label {value} is a number, but other rows have names; use one kind")
    names = sorted({str(value) for value in found}, key=in_order)
    _require_two(rows, names)
    number_of = {name: number for number, name in enumerate(names)}
    return [number_of[str(value)] for value in found], names


def in_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a sort key that compares numbers in names by value: ``LABEL_2`` comes before ``LABEL_10``."""
    parts = _DIGITS.split(name)
    # Every second part is a number. Without leading zeros, a longer number is larger.
    numbers = [part.lstrip("0") if place % 2 else part for place, part in enumerate(parts)]
    return [(len(part) if place % 2 else 0, part) for place, part in enumerate(numbers)], name


def read_flag(value: object, where: str, column: str) -> bool:
    """Read a value that must be 0 or 1.

    Raises:
        DataError: the value is anything else.
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
    """Return class numbers from labels that already are class numbers, as on the hub, whatever the classes' names.

    Raises:
        DataError: a label is missing, negative, not a whole number, or outside the classes.
    """
    values = [_plain_label(row) for row in rows]
    _refuse_missing(rows, values)
    numbers = []
    for row, value in zip(rows, values, strict=True):
        if not isinstance(value, int) or value >= len(names):
            raise DataError(
                f"{row.where}: label {str(value)[:40]!r} is not a class number from 0 to {len(names) - 1}"
            )
        numbers.append(value)
    return numbers


def _refuse_half_characters(row: Labelled) -> None:
    if isinstance(row.label, str) and not is_encodable(row.label):
        raise DataError(f"{row.where}: label contains half of a surrogate pair, which is not a character")


def _plain_label(row: Labelled) -> int | str | None:
    """Return the label, or None if it is missing."""
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
    """Return the number of a label's class, or None if the label is missing."""
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
                "or use names"
            )
    return numbers, names


def _require_two(rows: Sequence[Labelled], names: Sequence[str]) -> None:
    if len(names) < 2:
        source = rows[0].where.rpartition(":")[0]
        raise DataError(f"{source}: every row has label {names[0]!r}; a classifier needs two classes or more")
