"""From a name with arguments, as a command line gives it, to the object."""

from __future__ import annotations

import inspect
from typing import Any

from poisonsieve import registry
from poisonsieve.building import parameters_of, typed_arguments
from poisonsieve.config import NamedSpec
from poisonsieve.errors import ConfigError


def build(kind: registry.Kind, spec: NamedSpec) -> Any:
    """The registered class of that name, made with the spec's arguments.

    Raises:
        ConfigError: no such name, no such argument, or a value it refuses; the message names the argument.
    """
    found = registry.get(kind, spec.name)
    values = typed_arguments(spec, parameters_of(spec), hint=_relatives(kind, spec.name) if spec.params else "")
    try:
        return found(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{spec.kind} {spec.name}: {error}") from None


def _relatives(kind: registry.Kind, name: str) -> str:
    """Who else of its family takes arguments: an alias that a whole family goes by opens one of them."""
    family = [each for each in registry.names(kind) if each.partition("-")[0] == name.partition("-")[0]]
    taken = {each: ", ".join(inspect.signature(registry.get(kind, each)).parameters) for each in family}
    others = [f"{each} ({arguments})" for each, arguments in taken.items() if each != name and arguments]
    if not others:
        return ""
    aliases = registry.aliases_of(kind, name)
    meant = f"by {' or '.join(aliases)} you may mean" if aliases else "or take"
    return f"; {meant} {' or '.join(others)}"
