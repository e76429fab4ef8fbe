"""Parse what a user writes, such as ``strip:copies=20``, into a defence that is ready to be fitted."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from poisonsieve import registry
from poisonsieve.building import converted, parameters_of, typed_arguments
from poisonsieve.config import NamedSpec
from poisonsieve.defenses.detector import Detector
from poisonsieve.defenses.repair import WeightRepair
from poisonsieve.defenses.rewriter import Rewriter
from poisonsieve.errors import ConfigError
from poisonsieve.thresholds import RULES

DefenseKind = Literal["detector", "rewriter", "repair"]
DEFENSE_KINDS: tuple[DefenseKind, ...] = ("detector", "rewriter", "repair")

_BASES: dict[DefenseKind, type] = {"detector": Detector, "rewriter": Rewriter, "repair": WeightRepair}
#: The detector of a guard whose user names none, and the paper's own, on whose scale a fixed gamma is given.
DEFAULT_DETECTOR, PAPER_DETECTOR = "psim-rarity", "psim"
#: Arguments of the model that is guarded: a rewriter's argument of the same name means another model.
_OF_THE_MODEL = ("model", "base", "max_length")


class DefenseSpec(NamedSpec):
    """A defence, such as ``strip:copies=20``. The parts of a list are joined by ``+``."""

    kind: ClassVar[str] = "defence"
    registered_as: ClassVar[registry.Kind] = "defense"
    example: ClassVar[str] = "strip:copies=20"


def parse_defense(text: str, settings: Iterable[str] = (), *, kind: DefenseKind | None = None) -> DefenseSpec:
    """Read ``psim`` or ``strip:copies=20``, and check it as far as it can be without making the defence.

    Args:
        text: the defence, perhaps with arguments.
        settings: further arguments, each ``key=value``; here a value may hold commas.
        kind: what it has to be.

    Raises:
        ConfigError: no such defence, one of another kind, no such argument, a value of another type, one that is
            given twice, or an argument that it cannot do without is missing.
    """
    spec = _having(DefenseSpec.parse(text), settings)
    if kind is not None:
        require_kind(spec, kind)
    own = threshold_of(spec)[0] if kind_of(spec.name) == "detector" else spec
    given = arguments_of(own)
    for key, parameter in known_arguments(spec).items():
        if parameter.default is parameter.empty and key not in given:
            raise ConfigError(f"defence {spec.name} needs {key}: write {spec.name}:{key}=...")
    return spec


def threshold_of(spec: DefenseSpec) -> tuple[DefenseSpec, dict[str, float]]:
    """Split a detector's spec into its own arguments, and the rule for a threshold, which belongs to its guard.

    A detector that has an argument of that name keeps it.

    Raises:
        ConfigError: one of them is not a number.
    """
    own = parameters_of(spec)
    rule = {key: value for key, value in spec.params.items() if key in RULES and key not in own}
    rest = {key: value for key, value in spec.params.items() if key not in rule}
    owner = f"{spec.kind} {spec.name}"
    return (
        DefenseSpec(name=spec.name, params=rest),
        {key: converted(owner, key, value, float) for key, value in rule.items()},
    )


def arguments_of(spec: DefenseSpec) -> dict[str, Any]:
    """Return the arguments in a spec, converted to the types that the defence's constructor declares.

    Raises:
        ConfigError: there is no such defence or argument, or a value has another type.
    """
    return typed_arguments(spec, known_arguments(spec))


def make_defense(defense: DefenseSpec | str, **common: Any) -> Detector | Rewriter | WeightRepair:
    """Make the defence that a spec or its text form describes, unfitted.

    Args:
        defense: the spec or its text form.
        common: arguments such as `model` or `seed` for whatever defence this is. Those that it does not take are
            ignored, and those in `defense` take precedence.

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
    """Tell whether the defence of this name is a detector, a rewriter or a repair.

    Raises:
        ConfigError: there is no such defence, or it is none of the three.
    """
    registry.get("defense", name)
    for kind in DEFENSE_KINDS:
        if _is(name, kind):
            return kind
    raise ConfigError(f"defence {name} is neither a detector, a rewriter nor a repair; make it extend one of these")


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


def _having(spec: DefenseSpec, settings: Iterable[str]) -> DefenseSpec:
    params = dict(spec.params)
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r} is not key=value (example: copies=20)")
        if key.strip() in params:
            raise ConfigError(f"{key.strip()} is given twice; one value would hide another")
        params[key.strip()] = value
    return DefenseSpec(name=spec.name, params=params)


def _is(name: str, kind: DefenseKind) -> bool:
    found = registry.get("defense", name)
    return inspect.isclass(found) and issubclass(found, _BASES[kind])


def known_arguments(spec: DefenseSpec) -> dict[str, inspect.Parameter]:
    """Return a defence's arguments, its own first, without the guarded model, which is given separately."""
    taken = parameters_of(spec)
    if kind_of(spec.name) == "detector":
        taken.pop("model", None)
    own = vars(registry.get("defense", spec.name)).get("__annotations__", {})
    return {key: taken[key] for key in sorted(taken, key=lambda key: key not in own)}
