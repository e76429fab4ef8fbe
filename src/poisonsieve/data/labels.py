"""From the labels in a source to class numbers and class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from poisonsieve.data.label_values import NoLabelError, read_label, truth_name
from poisonsieve.data.records import is_encodable
from poisonsieve.errors import ConfigError, DataError

_GENERIC = re.compile(r"(?:LABEL_)?([0-9]{1,18})")
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
    one of the names, or the number of a class where the names are no numbers themselves.

    Raises:
        DataError: a label is missing, is neither a whole number nor a string, is negative, or is outside the classes;
            or there are fewer than two classes.
    """
    known = {} if label_names is None else {name: number for number, name in enumerate(label_names)}
    values = [_plain_label(row, known) for row in rows]
    _refuse_missing(rows, values)
    found = [value for value in values if value is not None]
    if label_names is not None:
        return _encode_known(rows, found, label_names), list(label_names)
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


def match_classes(names: Sequence[str], label_names: Sequence[str], source: str) -> list[int]:
    """For each class of a data set, the number of the same class in a model.

    Classes match by name, whatever the case. When both sides have numbers for names (``0``, ``LABEL_0``), they match by
    those. When one side has, each class its own number, and there are equally many, they match by number.

    Raises:
        DataError: they do not match.
    """
    wanted = [name.lower() for name in label_names]
    if all(name.lower() in wanted for name in names):
        return [wanted.index(name.lower()) for name in names]
    numbers, model_numbers = _numbers(names), _numbers(label_names)
    if numbers and model_numbers and sorted(numbers) == sorted(model_numbers):
        return [model_numbers.index(number) for number in numbers]
    own = list(range(len(names)))
    if len(names) == len(label_names) and own in (numbers, model_numbers):
        return own
    raise DataError(
        f"{source} has the classes {_listing(names)}, but the model has {_listing(label_names)}; "
        "use data with the model's classes"
    )


def class_number(wanted: str, names: Sequence[str], what: str = "target") -> int:
    """The class that is meant by its name or its number.

    Raises:
        ConfigError: there is no such class; the message begins with `what` it was given as.
    """
    if wanted in names:
        return list(names).index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise ConfigError(
        f"{what} {wanted} is no class; classes: " + ", ".join(f"{i} = {n}" for i, n in enumerate(names))
    )


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


def _numbers(names: Sequence[str]) -> list[int] | None:
    """The numbers that stand for names; None where one is a real name."""
    found = [match and int(match[1]) for match in map(_GENERIC.fullmatch, names)]
    return None if None in found else [number for number in found if number is not None]


def _plain_label(row: Labelled, known: dict[str, int]) -> int | str | None:
    """The label, None if it is missing; one of the names in `known` is itself, whatever else it may mean."""
    if isinstance(row.label, str):
        if not is_encodable(row.label):
            raise DataError(f"{row.where}: label holds half of a surrogate pair, which is no character")
        for name in (row.label, row.label.strip()):
            if name in known:
                return name
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


def _encode_known(rows: Sequence[Labelled], values: list[int | str], names: Sequence[str]) -> list[int]:
    number_of = {name: number for number, name in enumerate(names)}
    truths = {truth_name(name): number for name, number in number_of.items() if truth_name(name)}
    # Where names are numbers, a number is a name: 1 is the class "1", also where that is not class number 1.
    limit = 0 if all(name.isdecimal() for name in names) else len(names)
    labels = []
    for row, value in zip(rows, values, strict=True):
        number = number_of.get(str(value), truths.get(truth_name(value)))
        if number is None and isinstance(value, int) and value < limit:
            number = value
        if number is None:
            raise DataError(
                f"{row.where}: label {str(value)[:40]!r} is none of the model's classes: {_listing(names)}, "
                f"or 0 to {len(names) - 1}"
            )
        labels.append(number)
    return labels


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


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown + (", ..." if len(names) > 12 else "")
