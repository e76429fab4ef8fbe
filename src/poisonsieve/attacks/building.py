"""From a name with arguments, as a command line gives it, to the object."""

from __future__ import annotations

import inspect
from typing import Any

from poisonsieve import registry
from poisonsieve.config import NamedSpec
from poisonsieve.errors import ConfigError


def build(kind: registry.Kind, spec: NamedSpec) -> Any:
    """The registered class of that name, made with the spec's arguments.

    Text becomes a number where the argument's default is one.

    Raises:
        ConfigError: no such name, no such argument, or a value it refuses; the message names the argument.
    """
    found = registry.get(kind, spec.name)
    known = inspect.signature(found).parameters
    values = {}
    for name, value in spec.params.items():
        if name not in known:
            raise ConfigError(
                f"{spec.kind} {spec.name} has no argument {name!r}; known: {', '.join(known) or 'none'}"
            )
        values[name] = _like_default(f"{spec.kind} {spec.name}: {name}", value, known[name].default)
    try:
        return found(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{spec.kind} {spec.name}: {error}") from None


def _like_default(where: str, value: str | int | float, default: Any) -> str | int | float:
    wanted = type(default)
    if not isinstance(value, str) or wanted not in (int, float):
        return value
    try:
        number: int | float = wanted(value)
    except ValueError:
        raise ConfigError(f"{where} is {value!r}; give {'a whole' if wanted is int else 'a'} number") from None
    return number
