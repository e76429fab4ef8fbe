"""What a comparison is: one YAML file, checked as a whole before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from poisonsieve.attacks import make_poisoning, make_trigger
from poisonsieve.bench.entries import AttackEntry, DefenseEntry, Rows, read_mapping, with_root
from poisonsieve.config import Spec, make_spec
from poisonsieve.errors import ConfigError
from poisonsieve.tuning.presets import tune_spec


class ComparisonSpec(Spec):
    """Attacks x defences on one data set.

    Attributes:
        title: what the table is headed with.
        model: the clean model that the attacker starts from.
        data: the user's rows.
        attacker: the attacker's rows; the user's own (full data knowledge) when left out.
        target: the class the attacker wants, by name or number.
        poison: fields of `TuneSpec` for the attacker's full tuning, beside the preset's.
        victim: the same for the victim, with its `method`.
        attacks, defenses: what is compared, by the name that the table gives it.
        frr: the false-rejection rate that every detector is calibrated to.
        floor: also train an un-poisoned model, to show how many triggered rows it sends to the target by itself.
        seeds: one whole comparison for each.
    """

    title: str
    model: str
    data: Rows
    attacker: Rows | None = None
    target: str = "0"
    poison: dict[str, Any] = Field(default_factory=dict)
    victim: dict[str, Any]
    attacks: dict[str, AttackEntry] = Field(min_length=1)
    defenses: dict[str, DefenseEntry] = Field(min_length=1)
    frr: float = Field(0.01, gt=0, lt=1)
    floor: bool = True
    seeds: list[int] = Field(default=[0], min_length=1)


def load_comparison(path: Path, data_root: Path | None = None) -> ComparisonSpec:
    """Read and check a comparison file.

    Args:
        path: the YAML file.
        data_root: what ``{data}`` stands for in it.

    Raises:
        ConfigError: the file cannot be read, a key or name in it is unknown, or it needs a data root.
    """
    content = read_mapping(path, "comparison; it has to be a YAML mapping with the keys data, attacks, ...")
    try:
        spec = make_spec(ComparisonSpec, **with_root(content, data_root))
        _check_names(spec)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return spec


def _check_names(spec: ComparisonSpec) -> None:
    """Everything that can be refused before hours of training."""
    from poisonsieve.defenses.specs import parse_defense

    if spec.data.test is None:
        raise ConfigError("data has no test rows; give data.test")
    for attack in spec.attacks.values():
        if attack.trigger is not None:
            described = attack.attack(0, 0)
            make_trigger(described.trigger)
            make_poisoning(described.weights)
        tune_spec("full", hidden_size=1, **{**spec.poison, **attack.training})
    for name, entry in spec.defenses.items():
        if entry.defense is not None and entry.defense != "none":
            parse_defense(entry.defense)
        unknown = sorted(set(entry.triggered) - set(spec.attacks))
        if unknown:
            raise ConfigError(
                f"defenses.{name}.triggered names {', '.join(unknown)}, which is no attack of this file"
            )
    tune_spec(**{"hidden_size": 1, **spec.victim})
