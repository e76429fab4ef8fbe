"""Finding a model's class for a label in a file, a class of a data set, or an option.

A class is given by its name or by its position, from 0. Where names are numbers, the two may disagree: a model with the
classes ``1`` to ``5`` has its class ``1`` at position 0. In such a model a number is always a name, never a position.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from poisonsieve.data.label_values import number_value, truth_name
from poisonsieve.errors import ConfigError, DataError

_NAMELESS = re.compile(r"LABEL_([0-9]{1,18})")  # transformers' default class names
_SHOWN = 40


class AmbiguousLabelError(ValueError):
    """A label that may mean either of two classes; the message names them."""


class KnownClasses:
    """The classes of a model, with a lookup by label.

    Args:
        names: class names, by class number.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.are_numbers = all(number_value(name) is not None for name in names)
        self._number_of = {name: number for number, name in enumerate(names)}
        self._truths = {truth_name(name): number for number, name in enumerate(names) if truth_name(name)}
        self._named = _by_number(names)

    def find(self, label: object) -> int | None:
        """Return the number of the class that a label means, or None if it means none.

        The same label gives the same class in every format: ``1``, ``"1"`` and ``1.0`` are the same number.

        Raises:
            AmbiguousLabelError: the label may mean one class by name and another by position.
        """
        value = number_value(label)
        if value is not None:
            return self._by_value(value)
        shown = str(label)
        found = self._number_of.get(shown, self._number_of.get(shown.strip()))
        return self._truths.get(truth_name(shown.strip())) if found is None and truth_name(shown.strip()) else found

    def _by_value(self, value: Decimal) -> int | None:
        meant = list(self._named.get(value, ()))
        place = self._position(value)
        if place is not None and place not in meant:
            meant.append(place)
        if len(meant) > 1:
            raise AmbiguousLabelError(
                f"{value} may mean "
                + " or ".join(f"class number {number}, called {self.names[number]!r}" for number in meant)
                + "; use names that are not numbers, in the data and in the model (id2label in its config.json)"
            )
        return meant[0] if meant else None

    def _position(self, value: Decimal) -> int | None:
        within = not self.are_numbers and 0 <= value < len(self.names) and value == int(value)
        return int(value) if within else None


def match_classes(names: Sequence[str], label_names: Sequence[str], source: str) -> list[int]:
    """Return, for each class of a data set, the number of the same class in a model.

    Classes match by name, ignoring case where that leaves a single candidate on either side. If the names on both sides
    are numbers (``0``, ``1.0``, ``LABEL_0``), they match by those. If one side's names are its own class numbers and the
    other side has as many real names, they match by number.

    Raises:
        DataError: the classes do not match.
    """
    for matched in (_matched_by_name, _matched_by_number, _matched_by_position):
        found = matched(names, label_names)
        if found is not None:
            return found
    raise DataError(
        f"{source} has the classes {listing(names)}, but the model has {listing(label_names)}; "
        "use data with the model's classes"
    )


def class_number(wanted: str, names: Sequence[str], what: str = "target") -> int:
    """Return the number of a class given by its name or, where the names are not numbers, by its number.

    Raises:
        ConfigError: there is no such class; the message begins with `what`.
    """
    if wanted in names:
        return list(names).index(wanted)
    classes = KnownClasses(names)
    try:
        found = classes.find(wanted)
    except AmbiguousLabelError as error:
        raise ConfigError(f"{what} {error}") from None
    if found is not None:
        return found
    shown = wanted if len(wanted) <= _SHOWN else f"{wanted[:_SHOWN]}..."
    if classes.are_numbers and list(names) != [str(number) for number in range(len(names))]:
        raise ConfigError(
            f"{what} {shown} is not a class; the class names are numbers, so give a name: {listing(names)}"
        )
    listed = ", ".join(f"{number} = {name}" for number, name in enumerate(names))
    raise ConfigError(f"{what} {shown} is not a class; classes: {listed}")


def listing(names: Sequence[str]) -> str:
    """List names for a message, the first twelve of many."""
    shown = ", ".join(names[:12])
    return shown + (", ..." if len(names) > 12 else "")


def _by_number(names: Sequence[str]) -> dict[Decimal, list[int]]:
    """Return positions by number, for class names that are a number or end in one: ``1.0``, ``LABEL_1``."""
    found: dict[Decimal, list[int]] = {}
    for position, name in enumerate(names):
        value = _number_in(name)
        if value is not None:
            found.setdefault(value, []).append(position)
    return found


def _number_in(name: str) -> Decimal | None:
    nameless = _NAMELESS.fullmatch(name)
    return Decimal(nameless[1]) if nameless else number_value(name)


def _matched_by_name(names: Sequence[str], label_names: Sequence[str]) -> list[int] | None:
    exact = {name: number for number, name in enumerate(label_names)}
    ours, theirs = Counter(map(str.casefold, names)), Counter(map(str.casefold, label_names))
    folded = {name.casefold(): number for number, name in enumerate(label_names) if theirs[name.casefold()] == 1}
    found = [exact.get(name, folded.get(name.casefold()) if ours[name.casefold()] == 1 else None) for name in names]
    numbers = [number for number in found if number is not None]
    return numbers if len(numbers) == len(names) else None


def _matched_by_number(names: Sequence[str], label_names: Sequence[str]) -> list[int] | None:
    """Match names that are all numbers; a model whose own names are all numbers may have more of them."""
    numbers, model = [_number_in(name) for name in names], _by_number(label_names)
    known = [model[number][0] for number in numbers if number is not None and len(model.get(number, ())) == 1]
    whole = len(model) == len(label_names) and len(set(numbers)) == len(known) == len(names)
    named = all(number_value(name) is not None for name in (*names, *label_names))
    return known if whole and (named or len(known) == len(label_names)) else None


def _matched_by_position(names: Sequence[str], label_names: Sequence[str]) -> list[int] | None:
    own = [[position] for position in range(len(names))]
    numbers, model = _by_number(names), _by_number(label_names)
    if len(names) != len(label_names) or own not in (_in_place(numbers), _in_place(model)):
        return None
    if all(map(_NAMELESS.fullmatch, label_names)) and own == _in_place(model):
        return list(range(len(names)))  # the model has default names, so its order counts
    elsewhere = any(value in numbers and numbers[value] != places for value, places in model.items())
    mixed = len(numbers) == len(names) and len(model) == len(label_names)
    return None if elsewhere or mixed else list(range(len(names)))


def _in_place(numbered: dict[Decimal, list[int]]) -> list[list[int]]:
    """Return the positions of 0, 1, ... as far as they occur."""
    return [numbered[Decimal(value)] for value in range(len(numbered)) if Decimal(value) in numbered]
