"""Building a registered object from a name with arguments, as the command line gives it."""

from __future__ import annotations

import inspect
from typing import Any

from poisonsieve import registry
from poisonsieve.building import parameters_of, typed_arguments
from poisonsieve.config import NamedSpec
from poisonsieve.errors import ConfigError


def build(kind: registry.Kind, spec: NamedSpec) -> Any:
    """Create an instance of the registered class with the spec's arguments.

    Raises:
        ConfigError: the name or an argument is unknown, or a value is refused; the message names the argument.
    """
    found = registry.get(kind, spec.name)
    values = typed_arguments(spec, parameters_of(spec), hint=_relatives(kind, spec.name) if spec.params else "")
    try:
        return found(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{spec.kind} {spec.name}: {error}") from None


def _relatives(kind: registry.Kind, name: str) -> str:
    """Suggest relatives that take arguments, for a name reached through an alias that a whole family shares."""
    family = [each for each in registry.names(kind) if each.partition("-")[0] == name.partition("-")[0]]
    taken = {each: ", ".join(inspect.signature(registry.get(kind, each)).parameters) for each in family}
    others = [f"{each} ({arguments})" for each, arguments in taken.items() if each != name and arguments]
    if not others:
        return ""
    aliases = registry.aliases_of(kind, name)
    meant = f"by {' or '.join(aliases)} you may mean" if aliases else "or take"
    return f"; {meant} {' or '.join(others)}"
