"""From what a user writes, such as ``strip:copies=20``, to a defence that is ready to be fitted."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Literal

from poisonsieve import registry
from poisonsieve.building import parameters_of, typed_arguments
from poisonsieve.config import NamedSpec
from poisonsieve.defenses.base import Detector
from poisonsieve.defenses.repair import WeightRepair
from poisonsieve.defenses.rewriter import Rewriter
from poisonsieve.errors import ConfigError

DefenseKind = Literal["detector", "rewriter", "repair"]
DEFENSE_KINDS: tuple[DefenseKind, ...] = ("detector", "rewriter", "repair")

_BASES: dict[DefenseKind, type] = {"detector": Detector, "rewriter": Rewriter, "repair": WeightRepair}
#: Arguments of the model that is guarded: a rewriter's argument of the same name means another model.
_OF_THE_MODEL = ("model", "base", "frr", "gamma", "max_length")


class DefenseSpec(NamedSpec):
    """A defence, such as ``strip:copies=20``. The parts of a list are joined by ``+``."""

    kind: ClassVar[str] = "defence"
    registered_as: ClassVar[registry.Kind] = "defense"
    example: ClassVar[str] = "strip:copies=20"


def parse_defense(text: str) -> DefenseSpec:
    """Read ``psim`` or ``strip:copies=20``, and check it as far as it can be without making the defence.

    Raises:
        ConfigError: no such defence, no such argument, a value of another type, or an argument that it cannot do
            without is missing.
    """
    spec = DefenseSpec.parse(text)
    given = arguments_of(spec)
    for key, parameter in _known_arguments(spec).items():
        if parameter.default is parameter.empty and key not in given:
            raise ConfigError(f"defence {spec.name} needs {key}: write {spec.name}:{key}=...")
    return spec


def arguments_of(spec: DefenseSpec) -> dict[str, Any]:
    """The arguments that a spec gives, each of the type that the defence's constructor declares.

    Raises:
        ConfigError: no such defence, no such argument, or a value of another type.
    """
    return typed_arguments(spec, _known_arguments(spec))


def make_defense(defense: DefenseSpec | str, **common: Any) -> Detector | Rewriter | WeightRepair:
    """The defence that a spec, or its text form, describes; not fitted.

    Args:
        defense: what to make.
        common: arguments such as `model`, `frr` or `seed` that are set for whatever defence this is. Those that it
            does not take are left out; what `defense` says itself comes first.

    Raises:
        ConfigError: see `parse_defense`; or the defence refuses a value.
    """
    spec = parse_defense(defense) if isinstance(defense, str) else defense
    kind = registry.get("defense", spec.name)
    taken = inspect.signature(kind).parameters
    if kind_of(spec.name) != "detector":
        common = {key: value for key, value in common.items() if key not in _OF_THE_MODEL}
    arguments = {**{key: value for key, value in common.items() if key in taken}, **arguments_of(spec)}
    try:
        made: Detector | Rewriter | WeightRepair = kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"defence {spec.name}: {error}") from None
    return made


def kind_of(name: str) -> DefenseKind:
    """Whether the defence of this name is a detector, a rewriter or a repair.

    Raises:
        ConfigError: there is no such defence, or it is none of the three.
    """
    registry.get("defense", name)
    for kind in DEFENSE_KINDS:
        if _is(name, kind):
            return kind
    raise ConfigError(f"defence {name} is no detector, rewriter or repair, so nothing can be done with it")


def names_of(kind: DefenseKind) -> list[str]:
    """Names of all defences of one kind, sorted."""
    return [name for name in registry.names("defense") if _is(name, kind)]


def require_kind(spec: DefenseSpec, wanted: DefenseKind) -> None:
    """Refuse a defence of another kind, and name the command that takes it.

    Raises:
        ConfigError: it is of another kind.
    """
    commands = {"detector": "fit", "rewriter": "rewrite", "repair": "repair"}
    found = kind_of(spec.name)
    if found != wanted:
        raise ConfigError(
            f"{spec.name} is a {found}, not a {wanted}; use poisonsieve {commands[found]}, or one of: "
            f"{', '.join(names_of(wanted))}"
        )


def _is(name: str, kind: DefenseKind) -> bool:
    found = registry.get("defense", name)
    return inspect.isclass(found) and issubclass(found, _BASES[kind])


def _known_arguments(spec: DefenseSpec) -> dict[str, inspect.Parameter]:
    """A defence's own arguments. The model that a detector guards is none: whoever fits it names that."""
    taken = parameters_of(spec)
    if kind_of(spec.name) == "detector":
        taken.pop("model", None)
    return taken
