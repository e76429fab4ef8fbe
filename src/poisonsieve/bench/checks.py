"""What the names in a grid mean, looked up before anything is trained.

Looking names up imports every attack and defence, which takes seconds. So what was found is kept with the grid's results,
and a grid that was found sound is not checked again by the same version.
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

if TYPE_CHECKING:
    from poisonsieve.config import NamedSpec

#: Arguments of defences that the file sets for all, and how.
_SET_BY_FILE = {"seed": "seeds", "frr": "threshold", "gamma": "threshold"}
#: Of what is remembered.
_FORMAT = 2

Kind = Literal["none", "file", "detector", "rewriter", "repair"]


@dataclass(frozen=True)
class Facts:
    """What a plan has to know of an entry of `defenses`, beside what stands in it.

    Attributes:
        kind: what kind of defence it is; ``file`` for rewrites that somebody made.
        learns: it is a rewriter that chooses something on dev rows.
        unprepared: a rewriter's arguments that its work on texts does not depend on.
    """

    kind: Kind
    learns: bool = False
    unprepared: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Checked:
    """What checking a grid found.

    Attributes:
        defenses: by entry of `defenses`.
        read: the arguments of plug-ins that count by their content, by ``kind name``, each with its default.
        deferred: what could not be known without downloading weights, one line each.
    """

    defenses: dict[str, Facts]
    read: dict[str, dict[str, str | None]] = field(default_factory=dict)
    deferred: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, Kind]:
        """By entry of `defenses`, what kind of defence it is."""
        return {name: facts.kind for name, facts in self.defenses.items()}


def check(grid: GridSpec, memory: Path | None = None) -> Checked:
    """Refuse what could not be run, naming the key.

    Args:
        grid: to look through.
        memory: a JSON file that remembers a sound grid.

    Raises:
        ConfigError: an unknown attack, defence, tuning or setting; a tuning that a model cannot do.
    """
    digest = canonical_hash([importlib.metadata.version("poisonsieve"), _FORMAT, _what_names_mean(grid)])
    known = read_json_if_there(memory) if memory else {}
    if known.get("digest") == digest:
        defenses = {name: Facts(**facts) for name, facts in known["defenses"].items()}
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


def _what_names_mean(grid: GridSpec) -> dict[str, Any]:
    """The parts of a grid that are looked up; another threshold or title needs no other look."""
    return grid.model_dump(
        mode="json", include={"models", "attacks", "defenses", "victims", "poison", "sweeps", "report_to"}
    )


def _check_settings_of(grid: GridSpec) -> None:
    """Attacks, and the settings of every training."""
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
                    raise ConfigError(f"gamma {value!r} is no number")


def _check_defenses(grid: GridSpec) -> dict[str, Facts]:
    """Every defence with every variant, as far as it can be checked without making it."""
    from poisonsieve.defenses.specs import parse_defense

    found = {name: _facts(name, entry) for name, entry in grid.defenses.items()}
    for key, text in _texts(grid):
        with naming(key):
            spec = parse_defense(text)
            for argument, owner in _SET_BY_FILE.items():
                if argument in spec.params:
                    raise ConfigError(f"{argument} is set by {owner}; leave it out among the arguments")
            tuning = _tuning_of(spec)
            if tuning is not None:
                method, settings = tuning
                _check_settings(method or "full", settings)  # whichever it is going to be, these hold for all
    return found


def _facts(name: str, entry: DefenseEntry) -> Facts:
    from poisonsieve import registry
    from poisonsieve.config import name_of
    from poisonsieve.defenses.specs import kind_of

    if entry.clean is not None:
        return Facts("file")
    if entry.defense == NONE:
        return Facts("none")
    with naming(f"defenses.{name}"):
        plug_in = name_of(entry.text())
        kind = kind_of(plug_in)
        if kind != "rewriter":
            return Facts(kind)
        rewriter = registry.get("defense", plug_in)
        return Facts(kind, rewriter.learns(), sorted(rewriter.unprepared))


def _texts(grid: GridSpec) -> Iterator[tuple[str, str]]:
    """Every defence in its text form, by the key of the file that gives it."""
    for name, entry in grid.defenses.items():
        if entry.defense not in (None, NONE):
            for variant in entry.variants:
                yield f"defenses.{name}" + (f".vary.{variant}" if variant else ""), entry.text(variant)


def _tuning_of(spec: NamedSpec) -> tuple[str | None, dict[str, Any]] | None:
    """The tuning that a defence trains by, None where the model decides it, and its settings; if it takes one by name."""
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
    """See `Checked.read`."""
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


def _check_bits(grid: GridSpec, defenses: Mapping[str, Facts]) -> None:
    """Refuse for a model in 4 bits what trains all of its weights."""
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
                    f"{model.model} is frozen in {model.bits} bits, and these train all weights: {', '.join(full)}; leave "
                    f"them out (models.{name}.tunings), or leave bits out"
                )


def _tunings_of_defenses(grid: GridSpec) -> dict[str, str]:
    """The tunings that defences train by, by the key of the file."""
    from poisonsieve.defenses.specs import parse_defense

    found = {key: _tuning_of(parse_defense(text)) for key, text in _texts(grid)}
    return {key: tuning[0] for key, tuning in found.items() if tuning is not None and tuning[0] is not None}


def _check_victim(settings: dict[str, Any]) -> None:
    if "method" not in settings:
        raise ConfigError("method is missing: which tuning is it?")
    _check_settings(settings["method"], {key: value for key, value in settings.items() if key != "method"})


def _check_settings(method: str, settings: dict[str, Any]) -> None:
    from poisonsieve.tuning.presets import tune_spec

    if "seed" in settings:
        raise ConfigError("seed is set by seeds, for the whole grid; leave it out here")
    tune_spec(method, hidden_size=1, **settings)


def _check_tunings(grid: GridSpec) -> list[str]:
    """Refuse tunings that a model's architecture cannot do, as far as that is known without its weights."""
    from poisonsieve.tuning.architectures import CANNOT, model_type

    deferred = []
    for name, model in grid.models.items():
        architecture = model_type(model.model)
        wanted = {key: grid.victims[key]["method"] for key in model.tunings or grid.victims}
        wanted |= _tunings_of_defenses(grid)
        if architecture is None:
            deferred.append(
                f"models.{name}: {model.model} is not here, so whether it can do its tunings is seen when it is opened"
            )
            continue
        for key, method in wanted.items():
            if method in CANNOT.get(architecture, ()):
                raise ConfigError(
                    f"models.{name}: a {architecture} model cannot do {method} (victims or defenses: {key}); name the "
                    f"tunings it can do in models.{name}.tunings, and leave it out of vary"
                )
    return deferred
