"""Check the names in a grid before anything is trained.

Looking names up imports every attack and defence, which takes seconds. The outcome is therefore stored with the
grid's results, and the same version does not check a valid grid again.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from poisonsieve.bench.entries import NONE, DefenseEntry
from poisonsieve.bench.spec import GAMMA, GridSpec, victims_of
from poisonsieve.errors import ConfigError, naming
from poisonsieve.storage import canonical_hash, read_json_if_there, write_json
from poisonsieve.thresholds import RULES

if TYPE_CHECKING:
    from poisonsieve.config import NamedSpec

#: Arguments of defences that a key of the file sets for all of them.
_SET_BY_FILE = {"seed": "seeds", **dict.fromkeys(RULES, "threshold")}
_FORMAT = 2  # version of the remembered outcome

Kind = Literal["none", "file", "detector", "rewriter", "repair"]


@dataclass(frozen=True)
class DefenseFacts:
    """What a plan needs to know about an entry of `defenses`, beside the entry itself.

    Attributes:
        kind: kind of defence; ``file`` for prepared rewrites.
        learns: whether it is a rewriter that chooses something on dev rows.
        unprepared: arguments of a rewriter that its prepared work does not depend on.
    """

    kind: Kind
    learns: bool = False
    unprepared: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Checked:
    """The outcome of checking a grid.

    Attributes:
        defenses: facts by entry of `defenses`.
        read: arguments of plug-ins that are identified by their content, by ``kind name``, each with its default.
        deferred: what cannot be checked without downloading weights, one line each.
    """

    defenses: dict[str, DefenseFacts]
    read: dict[str, dict[str, str | None]] = field(default_factory=dict)
    deferred: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of defence, by entry of `defenses`."""
        return {name: facts.kind for name, facts in self.defenses.items()}


def check(grid: GridSpec, memory: Path | None = None) -> Checked:
    """Refuse a grid that cannot be run; the message names the key.

    Args:
        grid: grid to check.
        memory: a JSON file that remembers valid grids.

    Raises:
        ConfigError: an attack, defence, tuning or setting is unknown, or a model does not support a tuning.
    """
    digest = canonical_hash([importlib.metadata.version("poisonsieve"), _FORMAT, _checked_parts(grid)])
    known = read_json_if_there(memory) if memory else {}
    if known.get("digest") == digest:
        defenses = {name: DefenseFacts(**facts) for name, facts in known["defenses"].items()}
        return Checked(defenses, known["read"], known["deferred"])
    if grid.report_to != "none":
        from poisonsieve.tuning.trainer import require_tracker

        require_tracker(grid.report_to)
    _check_settings_of(grid)
    defenses = _check_defenses(grid)
    _check_bits(grid, defenses)
    found = Checked(defenses, _read_by_content(grid), _check_tunings(grid))
    if memory is not None:
        write_json(memory, {"digest": digest, **asdict(found)})
    return found


def _checked_parts(grid: GridSpec) -> dict[str, Any]:
    """Return the parts of a grid that are looked up; a new threshold or title needs no new check."""
    return grid.model_dump(
        mode="json", include={"models", "attacks", "defenses", "victims", "poison", "sweeps", "report_to"}
    )


def _check_settings_of(grid: GridSpec) -> None:
    """Check the attacks, and the settings of every training."""
    from poisonsieve.attacks import make_poisoning, make_trigger

    for name, attack in grid.all_attacks().items():
        with naming(f"attacks.{name}"):
            if attack.trigger is not None:
                described = attack.attack(0, 0)
                make_trigger(described.trigger)
                make_poisoning(described.weights)
            _check_settings("full", {**grid.poison, **attack.training})
    for name, model in grid.models.items():
        with naming(f"models.{name}.poison"):
            _check_settings("full" if model.bits is None else "lora", {**grid.poison, **model.poison})
        for key, changes in model.victims.items():
            with naming(f"models.{name}.victims.{key}"):
                _check_victim({**grid.victims[key], **changes})
    for name, settings in grid.victims.items():
        with naming(f"victims.{name}"):
            _check_victim(settings)
    for name, sweep in grid.sweeps.items():
        for value in sweep.values:
            with naming(f"sweeps.{name}"):
                if sweep.field != GAMMA:
                    _check_victim({**grid.victims[sweep.victim], sweep.field: value})
                elif not isinstance(value, int | float):
                    raise ConfigError(f"gamma {value!r} is not a number")


def _check_defenses(grid: GridSpec) -> dict[str, DefenseFacts]:
    """Check every defence with every variant, as far as possible without building it."""
    from poisonsieve.defenses.specs import parse_defense

    found = {name: _facts(name, entry) for name, entry in grid.defenses.items()}
    for key, text in _texts(grid):
        with naming(key):
            spec = parse_defense(text)
            for argument, owner in _SET_BY_FILE.items():
                if argument in spec.params:
                    raise ConfigError(f"{argument} is set by {owner}; remove it from the arguments")
            tuning = _tuning_of(spec)
            if tuning is not None:
                method, settings = tuning
                _check_settings(method or "full", settings)  # an undecided tuning: these hold for all
    return found


def _facts(name: str, entry: DefenseEntry) -> DefenseFacts:
    from poisonsieve import registry
    from poisonsieve.config import name_of
    from poisonsieve.defenses.specs import kind_of

    if entry.clean is not None:
        return DefenseFacts("file")
    if entry.defense == NONE:
        return DefenseFacts("none")
    with naming(f"defenses.{name}"):
        plug_in = name_of(entry.text())
        kind = kind_of(plug_in)
        if kind != "rewriter":
            return DefenseFacts(kind)
        rewriter = registry.get("defense", plug_in)
        return DefenseFacts(kind, rewriter.learns(), sorted(rewriter.unprepared))


def _texts(grid: GridSpec) -> Iterator[tuple[str, str]]:
    """Yield every defence in its text form, with its key in the file."""
    for name, entry in grid.defenses.items():
        if entry.defense not in (None, NONE):
            for variant in entry.variants:
                yield f"defenses.{name}" + (f".vary.{variant}" if variant else ""), entry.text(variant)


def _tuning_of(spec: NamedSpec) -> tuple[str | None, dict[str, Any]] | None:
    """Return the tuning (None if the model decides) and settings a defence trains with; None if it takes no tuning."""
    from poisonsieve.building import parameters_of
    from poisonsieve.config import TuneSpec

    taken = parameters_of(spec)
    if "method" not in taken:
        return None
    method = spec.params.get("method", taken["method"].default)
    own = set(taken) & set(TuneSpec.model_fields) - {"method", "seed"}
    settings = {key: value for key, value in spec.params.items() if key in own and value != NONE}
    return (str(method) if method not in (None, NONE) else None), settings


def _read_by_content(grid: GridSpec) -> dict[str, dict[str, str | None]]:
    """Return `Checked.read`."""
    from poisonsieve.config import name_of
    from poisonsieve.content import read_by_content

    named: dict[tuple[Literal["attack", "poisoning", "defense"], str], None] = {}
    for attack in grid.all_attacks().values():
        named["poisoning", name_of(attack.poisoning)] = None
        if attack.trigger is not None:
            named["attack", name_of(attack.trigger)] = None
    for _, text in _texts(grid):
        named["defense", name_of(text)] = None
    return {f"{kind} {name}": read_by_content(kind, name) for kind, name in named}


def _check_bits(grid: GridSpec, defenses: Mapping[str, DefenseFacts]) -> None:
    """Refuse training all weights of a model in 4 bits."""
    for name, model in grid.models.items():
        if model.bits is None:
            continue
        from poisonsieve.models.quantized import check_bits

        with naming(f"models.{name}.bits"):
            check_bits(model.bits)
            every = grid.all_victims()
            full = [
                key
                for key in victims_of(grid, name)
                if {**every[key], **model.victims.get(key, {})}.get("method") == "full"
            ]
            full += [key for key, method in _tunings_of_defenses(grid).items() if method == "full"]
            full += [f"attacks.{key}" for key, attack in grid.all_attacks().items() if attack.poisoning != "full"]
            full += [f"defenses.{key}" for key, facts in defenses.items() if facts.kind == "repair"]
            if full:
                raise ConfigError(
                    f"{model.model} is frozen in {model.bits} bits, and these train all weights: {', '.join(full)}; "
                    f"remove them (models.{name}.tunings), or remove bits"
                )


def _tunings_of_defenses(grid: GridSpec) -> dict[str, str]:
    """Return the tunings that defences train with, by their key in the file."""
    from poisonsieve.defenses.specs import parse_defense

    found = {key: _tuning_of(parse_defense(text)) for key, text in _texts(grid)}
    return {key: tuning[0] for key, tuning in found.items() if tuning is not None and tuning[0] is not None}


def _check_victim(settings: dict[str, Any]) -> None:
    if "method" not in settings:
        raise ConfigError("method is missing; name the tuning")
    _check_settings(settings["method"], {key: value for key, value in settings.items() if key != "method"})


def _check_settings(method: str, settings: dict[str, Any]) -> None:
    from poisonsieve.tuning.presets import tune_spec

    if "seed" in settings:
        raise ConfigError("seed is set by seeds, for the whole grid; remove it here")
    tune_spec(method, hidden_size=1, **settings)


def _check_tunings(grid: GridSpec) -> list[str]:
    """Refuse tunings that a model's architecture does not support, as far as known without its weights."""
    from poisonsieve.tuning.architectures import CANNOT, model_type

    deferred = []
    for name, model in grid.models.items():
        architecture = model_type(model.model)
        wanted = {key: grid.victims[key]["method"] for key in model.tunings or grid.victims}
        wanted |= _tunings_of_defenses(grid)
        if architecture is None:
            deferred.append(
                f"models.{name}: {model.model} is not on this machine; its tunings are checked when it is opened"
            )
            continue
        for key, method in wanted.items():
            if method in CANNOT.get(architecture, ()):
                raise ConfigError(
                    f"models.{name}: a {architecture} model cannot do {method} (victims or defenses: {key}); list the "
                    f"tunings it can do in models.{name}.tunings, and remove {method} from vary"
                )
    return deferred
