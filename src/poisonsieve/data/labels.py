"""From the labels in a file to class numbers and class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from poisonsieve.data.records import is_encodable
from poisonsieve.errors import ConfigError, DataError

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_GENERIC = re.compile(r"(LABEL_)?[0-9]+")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with its label as found; `where` is ``file:line``."""

    where: str
    text: str
    label: object


def encode_labels(rows: Sequence[Labelled], label_names: Sequence[str] | None) -> tuple[list[int], list[str]]:
    """Class number of each row, and the class names.

    Without `label_names`, whole numbers must be 0 ... K-1 with each number used, and name themselves; other strings
    are classes in sorted order. With them, a string is looked up by name and a number must be in range.

    Raises:
        DataError: a label is missing, is neither a whole number nor a string, is negative, or is outside the classes;
            or there are fewer than two classes.
    """
    values = [_plain_label(row) for row in rows]
    if label_names is not None:
        return _encode_known(rows, values, label_names), list(label_names)
    numbers = [_as_integer(value) for value in values]
    if all(number is not None for number in numbers):
        return _encode_numbers(rows, [number for number in numbers if number is not None])
    for row, value in zip(rows, values, strict=True):
        if isinstance(value, int):
            raise DataError(f"{row.where}: label {value} is a number, but other rows have names; use one kind")
    names = sorted({str(value) for value in values})
    _require_two(rows, names)
    number_of = {name: number for number, name in enumerate(names)}
    return [number_of[str(value)] for value in values], names


def match_classes(names: Sequence[str], label_names: Sequence[str], source: str) -> list[int]:
    """For each class of a data set, the number of the same class in a model.

    Classes match by name, whatever the case. When either side has no real names (``0``, ``LABEL_0``) and there are
    equally many, they match by number.

    Raises:
        DataError: they do not match.
    """
    wanted = [name.lower() for name in label_names]
    if all(name.lower() in wanted for name in names):
        return [wanted.index(name.lower()) for name in names]
    nameless = all(map(_GENERIC.fullmatch, names)) or all(map(_GENERIC.fullmatch, label_names))
    if nameless and len(names) == len(label_names):
        return list(range(len(names)))
    raise DataError(
        f"{source} has the classes {_listing(names)}, but the model has {_listing(label_names)}; "
        "use data with the model's classes"
    )


def _plain_label(row: Labelled) -> int | str:
    label = row.label
    if label is None or (isinstance(label, str) and not label.strip()):
        raise DataError(f"{row.where}: label is missing")
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise DataError(
            f"{row.where}: label {str(label)[:40]} is neither a whole number nor a string but {type(label).__name__}"
        )
    if isinstance(label, str) and not is_encodable(label):
        raise DataError(f"{row.where}: label holds half of a surrogate pair, which is no character")
    number = _as_integer(label)
    if number is not None and number < 0:
        raise DataError(f"{row.where}: label {number} is negative; classes count from 0 (-1 often means unlabelled)")
    return label


def _as_integer(label: int | str) -> int | None:
    if isinstance(label, int):
        return label
    return int(label) if _INTEGER.fullmatch(label.strip()) else None


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


def _encode_known(rows: Sequence[Labelled], values: list[int | str], names: Sequence[str]) -> list[int]:
    number_of = {name: number for number, name in enumerate(names)}
    labels = []
    for row, value in zip(rows, values, strict=True):
        number = number_of.get(value) if isinstance(value, str) else None
        number = _as_integer(value) if number is None else number
        if number is None or number >= len(names):
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
