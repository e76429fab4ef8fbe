"""What the names in a grid mean, looked up before anything is trained.

Looking names up imports every attack and defence, which takes seconds. So what was found is kept with the grid's results,
and a grid that was found sound is not checked again by the same version.
"""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poisonsieve.bench.cells import is_psim, victims_of
from poisonsieve.bench.entries import DefenseEntry
from poisonsieve.bench.spec import GAMMA, NONE, GridSpec
from poisonsieve.errors import ConfigError, PoisonsieveError
from poisonsieve.storage import canonical_hash, write_json

#: Architectures that cannot do a tuning: what PEFT's prefix tuning needs (a cache of keys and values) they do not have.
_CANNOT: dict[str, frozenset[str]] = {
    "mpnet": frozenset({"p_tuning_v2"}),
    "modernbert": frozenset({"p_tuning_v2"}),
}
#: The architectures of packaged models, which need not have been fetched yet.
_PACKAGED = {"minilm": "bert", "mpnet": "mpnet", "smollm2": "llama"}


@dataclass(frozen=True)
class Checked:
    """What checking a grid found.

    Attributes:
        kinds: by entry of `defenses`: ``none``, ``file``, ``detector``, ``rewriter`` or ``repair``.
        deferred: what could not be known without downloading weights, one line each.
    """

    kinds: dict[str, str]
    deferred: list[str] = field(default_factory=list)


def check(grid: GridSpec, memory: Path | None = None) -> Checked:
    """Refuse what could not be run, naming the key.

    Args:
        grid: to look through.
        memory: a JSON file that remembers a sound grid.

    Raises:
        ConfigError: an unknown attack, defence, tuning or setting; a tuning that a model cannot do.
    """
    digest = canonical_hash([importlib.metadata.version("poisonsieve"), _what_names_mean(grid)])
    known = _read(memory)
    if known.get("digest") == digest:
        return Checked(known["kinds"], known["deferred"])
    _check_tracker(grid.report_to)
    found = Checked(_check_names(grid), _check_tunings(grid))
    if memory is not None:
        write_json(memory, {"digest": digest, "kinds": found.kinds, "deferred": found.deferred})
    return found


def _check_tracker(report_to: str) -> None:
    if report_to == "none":
        return
    from transformers.integrations import get_available_reporting_integrations

    available = sorted(get_available_reporting_integrations())
    if report_to not in available:
        raise ConfigError(
            f"report_to: {report_to} is not installed; installed are: {', '.join(['none', *available])}"
        )


def _what_names_mean(grid: GridSpec) -> dict[str, Any]:
    """The parts of a grid that are looked up; another threshold or title needs no other look."""
    return grid.model_dump(
        mode="json", include={"models", "attacks", "defenses", "victims", "psim", "poison", "sweeps", "report_to"}
    )


def _check_names(grid: GridSpec) -> dict[str, str]:
    from poisonsieve.attacks import make_poisoning, make_trigger

    for name, attack in grid.attacks.items():
        with _naming(f"attacks.{name}"):
            if attack.trigger is not None:
                described = attack.attack(0, 0)
                make_trigger(described.trigger)
                make_poisoning(described.weights)
            _check_settings("full", {**grid.poison, **attack.training})
    for name, model in grid.models.items():
        with _naming(f"models.{name}.poison"):
            _check_settings("full" if model.bits is None else "lora", {**grid.poison, **model.poison})
        for key, changes in model.victims.items():
            with _naming(f"models.{name}.victims.{key}"):
                _check_victim({**grid.victims[key], **changes})
    for name, settings in grid.victims.items():
        with _naming(f"victims.{name}"):
            _check_victim(settings)
    for name, sweep in grid.sweeps.items():
        for value in sweep.values:
            with _naming(f"sweeps.{name}"):
                if sweep.field != GAMMA:
                    _check_victim({**grid.victims[sweep.victim], sweep.field: value})
                elif not isinstance(value, int | float):
                    raise ConfigError(f"gamma {value!r} is no number")
    kinds = {}
    for name, defense in grid.defenses.items():
        with _naming(f"defenses.{name}"):
            kinds[name] = _kind(defense, grid)
    _check_bits(grid, kinds)
    return kinds


def _check_bits(grid: GridSpec, kinds: dict[str, str]) -> None:
    """Refuse for a model in 4 bits what trains all of its weights."""
    for name, model in grid.models.items():
        if model.bits is None:
            continue
        from poisonsieve.models.quantized import check_bits

        with _naming(f"models.{name}.bits"):
            check_bits(model.bits)
            every = grid.all_victims()
            full = [
                key
                for key in victims_of(grid, name)
                if {**every[key], **model.victims.get(key, {})}.get("method") == "full"
            ]
            full += [f"psim.{key}" for key, entry in _psim(grid).items() if entry.get("method") == "full"]
            full += [
                f"attacks.{key}" for key, attack in grid.attacks.items() if attack.poisoning not in (None, "full")
            ]
            full += [f"defenses.{key}" for key, kind in kinds.items() if kind == "repair"]
            if full:
                raise ConfigError(
                    f"{model.model} is frozen in {model.bits} bits, and these train all weights: {', '.join(full)}; leave "
                    f"them out (models.{name}.tunings), or leave bits out"
                )


def _check_victim(settings: dict[str, Any]) -> None:
    if "method" not in settings:
        raise ConfigError("method is missing: which tuning is it?")
    _check_settings(settings["method"], {key: value for key, value in settings.items() if key != "method"})


def _check_settings(method: str, settings: dict[str, Any]) -> None:
    from poisonsieve.tuning.presets import tune_spec

    if "seed" in settings:
        raise ConfigError("seed is set by seeds, for the whole grid; leave it out here")
    tune_spec(method, hidden_size=1, **settings)


def _kind(entry: DefenseEntry, grid: GridSpec) -> str:
    from poisonsieve.defenses.specs import kind_of, parse_defense

    if entry.clean is not None:
        return "file"
    text = str(entry.defense)
    if text == NONE:
        return "none"
    spec = parse_defense(text)
    if is_psim(entry):
        _check_psim(grid)
    return kind_of(spec.name)


def _check_psim(grid: GridSpec) -> None:
    """PSIM's own constructor says what it takes; a tuning that it does not know is found here, not after theta_p."""
    import inspect

    from poisonsieve.config import TuneSpec
    from poisonsieve.defenses.psim import PSIM

    own = set(inspect.signature(PSIM.__init__).parameters) & set(TuneSpec.model_fields) - {"seed"}
    for name, settings in grid.psim.items():
        unknown = sorted(set(settings) - own)
        if unknown:
            raise ConfigError(f"psim.{name}: unknown {', '.join(unknown)}; known: {', '.join(sorted(own))}")
        with _naming(f"psim.{name}"):
            _check_victim(settings)


def _check_tunings(grid: GridSpec) -> list[str]:
    """Refuse tunings that a model's architecture cannot do, as far as that is known without its weights."""
    deferred = []
    for name, model in grid.models.items():
        architecture = model_type(model.model)
        wanted = {key: grid.victims[key]["method"] for key in model.tunings or grid.victims}
        wanted |= {f"psim.{key}": settings.get("method", "p_tuning_v1") for key, settings in _psim(grid).items()}
        if architecture is None:
            deferred.append(
                f"models.{name}: {model.model} is not here, so whether it can do its tunings is seen when it is opened"
            )
            continue
        for key, method in wanted.items():
            if method in _CANNOT.get(architecture, ()):
                raise ConfigError(
                    f"models.{name}: a {architecture} model cannot do {method} (victims or psim: {key}); name the "
                    f"tunings it can do in models.{name}.tunings, and leave it out of psim"
                )
    return deferred


def _psim(grid: GridSpec) -> dict[str, dict[str, Any]]:
    return grid.psim if any(is_psim(entry) for entry in grid.defenses.values()) else {}


def model_type(model: str) -> str | None:
    """The architecture of a model as its config calls it; None where no config is here."""
    if model in _PACKAGED:
        return _PACKAGED[model]
    config = Path(model) / "config.json"
    if not config.is_file():
        from huggingface_hub import try_to_load_from_cache

        if Path(model).exists() or model.count("/") > 1:
            return None
        cached = try_to_load_from_cache(model.removeprefix("hub:"), "config.json")
        if not isinstance(cached, str):
            return None
        config = Path(cached)
    found = _read(config).get("model_type")
    return None if found is None else str(found)


def _read(path: Path | None) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is none or it is not whole."""
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class _naming:  # noqa: N801 - reads as `with _naming(key)`
    """Puts the key before what an error says."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, PoisonsieveError) and not str(error).startswith(("psim.", self.key)):
            raise ConfigError(f"{self.key}: {error}") from None
