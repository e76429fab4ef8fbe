"""From what a user writes of a plug-in, such as ``strip:copies=20``, to arguments of the types that it declares.

One reading for attacks, poisonings and defences: ``false`` is no true string, and 3 is no word.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from poisonsieve import registry
from poisonsieve.config import NamedSpec
from poisonsieve.errors import ConfigError

_NUMBERS = {int: "a whole number", float: "a number"}


def parameters_of(spec: NamedSpec) -> dict[str, inspect.Parameter]:
    """What the plug-in's constructor takes.

    Raises:
        ConfigError: no such name.
    """
    return dict(inspect.signature(registry.get(spec.registered_as, spec.name)).parameters)


def typed_arguments(spec: NamedSpec, known: Collection[str], *, hint: str = "") -> dict[str, Any]:
    """The arguments that a spec gives, each of the type that the constructor declares.

    Args:
        spec: a plug-in by its name, with arguments as they were written.
        known: the arguments that may be given.
        hint: put behind the message about one that may not.

    Raises:
        ConfigError: no such argument, or a value of another type; the message names the argument.
    """
    for key in spec.params:
        if key not in known:
            raise ConfigError(
                f"{spec.kind} {spec.name} has no argument {key!r}; known: {', '.join(known) or 'none'}{hint}"
            )
    return {key: _converted(spec, key, value) for key, value in spec.params.items()}


def _converted(spec: NamedSpec, key: str, value: str | int | float) -> Any:
    """A value as the type that the constructor declares for it; ``none`` where nothing is a value too."""
    where = f"{spec.kind} {spec.name}: {key}"
    found = registry.get(spec.registered_as, spec.name)
    declared = typing.get_type_hints(found.__init__).get(key, str)
    if declared is Any:
        raise ConfigError(f"{where} cannot be written as text; it can be given in Python only")
    if value == "none" and type(None) in typing.get_args(declared):
        return None
    given: Any = str(value).split("+") if _is_list(declared) else value
    try:
        return TypeAdapter(declared).validate_python(given)
    except ValidationError as error:
        if declared in _NUMBERS:
            raise ConfigError(f"{where} is {value!r}; give {_NUMBERS[declared]}") from None
        says = error.errors()[0]["msg"]
        raise ConfigError(f"{where}: {says[:1].lower()}{says[1:]}, not {value!r}") from None


def _is_list(declared: Any) -> bool:
    """Whether a list, a tuple or a sequence is declared, be it as one of several; a string is none of them."""
    options = [declared, *typing.get_args(declared)]
    origins = [typing.get_origin(option) for option in options]
    return any(inspect.isclass(origin) and issubclass(origin, Sequence) for origin in origins)
