"""Arguments of plug-ins, checked against the types that their constructors declare.

Text such as ``strip:copies=20`` is converted; values from Python code must have the right type already. Attacks,
poisonings and defences share this code and its error messages.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from poisonsieve import registry
from poisonsieve.config import NamedSpec
from poisonsieve.errors import ConfigError

_NUMBERS = {"int": "a whole number", "float": "a number"}


def parameters_of(spec: NamedSpec) -> dict[str, inspect.Parameter]:
    """Return the parameters of the plug-in's constructor.

    Raises:
        ConfigError: there is no such plug-in.
    """
    return dict(inspect.signature(registry.get(spec.registered_as, spec.name)).parameters)


def typed_arguments(spec: NamedSpec, known: Collection[str], *, hint: str = "") -> dict[str, Any]:
    """Convert a spec's arguments to the types that the constructor declares.

    Args:
        spec: a plug-in's name, with its arguments as written.
        known: names of the allowed arguments.
        hint: text appended to the message about an unknown argument.

    Raises:
        ConfigError: an argument is unknown or has the wrong type; the message names it.
    """
    for key in spec.params:
        if key not in known:
            raise ConfigError(
                f"{spec.kind} {spec.name} has no argument {key!r}; known: {', '.join(known) or 'none'}{hint}"
            )
    types = declared_types(registry.get(spec.registered_as, spec.name)) if spec.params else {}
    owner = f"{spec.kind} {spec.name}"
    return {key: converted(owner, key, value, types.get(key, str)) for key, value in spec.params.items()}


@functools.cache
def declared_types(kind: type) -> dict[str, Any]:
    """Return the declared types of a class's arguments, by name; arguments without annotation are left out."""
    own = _field_types(kind)
    if set(inspect.signature(kind).parameters) <= set(own):
        return own
    return {**own, **typing.get_type_hints(kind.__init__, include_extras=True)}  # type: ignore[misc] # only read


@functools.cache
def _field_types(kind: type) -> dict[str, Any]:
    """Return the declared types of a dataclass's fields, each resolved in its own module."""
    if not dataclasses.is_dataclass(kind):
        return {}
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def converted(owner: str, key: str, value: str | int | float, declared: Any) -> Any:
    """Convert text to the declared type; ``none`` means None where that is allowed, and ``+`` separates list items.

    Raises:
        ConfigError: the text is not such a value, or the type has no text form.
    """
    if declared is Any:
        raise ConfigError(f"{owner}: {key} cannot be written as text; it can be given in Python only")
    if value == "none" and type(None) in typing.get_args(declared):
        return None
    given: Any = str(value).split("+") if _is_list(declared) else value
    return _validated(owner, key, given, declared, strict=False, shown=value)


def check_arguments(owner: object) -> None:
    """Refuse a dataclass whose values do not have their declared types. Nothing is converted.

    Raises:
        ConfigError: a value has the wrong type; the message names the first.
    """
    kind: type = type(owner)
    for key, declared in _field_types(kind).items():
        value = getattr(owner, key)
        plain = value.item() if isinstance(value, np.generic) else value
        _validated(kind.__name__, key, plain, declared, strict=True, shown=value)


def _validated(owner: str, key: str, value: Any, declared: Any, *, strict: bool, shown: object) -> Any:
    try:
        adapter = TypeAdapter(declared, config=ConfigDict(arbitrary_types_allowed=True))
        return adapter.validate_python(value, strict=strict)
    except ValidationError as error:
        problem = error.errors()[0]
        number = _NUMBERS.get(problem["type"].partition("_")[0])
        if number is not None and problem["input"] is value:
            raise ConfigError(f"{owner}: {key} is {str(shown)[:40]!r}; give {number}") from None
        message = problem["msg"]
        raise ConfigError(f"{owner}: {key}: {message[:1].lower()}{message[1:]}, not {str(shown)[:40]!r}") from None


def _is_list(declared: Any) -> bool:
    """Tell whether a type is a list, tuple or other sequence (not a string), or a union with one."""
    options = [declared, *typing.get_args(declared)]
    origins = [typing.get_origin(option) for option in options]
    return any(inspect.isclass(origin) and issubclass(origin, Sequence) for origin in origins)
