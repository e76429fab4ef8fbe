"""What a comparison is: one YAML file, checked as a whole before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from poisonsieve.attacks import make_poisoning, make_trigger
from poisonsieve.config import AttackSpec, PoisoningSpec, Spec, TriggerSpec, make_spec
from poisonsieve.errors import ConfigError
from poisonsieve.tuning.presets import tune_spec

#: Stands for the data root in every string of the file.
DATA_PLACEHOLDER = "{data}"


class Rows(Spec):
    """Where rows come from: names that `poisonsieve.data.load_dataset` knows.

    Attributes:
        train: rows to train on.
        dev: clean rows for the best epoch, for every choice a defence makes, and for calibration.
        test: rows that everything is counted on. Only the user's rows have them.
    """

    train: str
    dev: str
    test: str | None = None


class AttackEntry(Spec):
    """One attack: a trigger that is put into the attacker's rows, or rows that somebody poisoned already.

    Attributes:
        trigger: a trigger in its text form, such as ``badnet:word=cf``.
        poisoning: how the weights are poisoned, in the same form.
        count, rate, clean_label, select: see `AttackSpec`.
        poisoned: training rows that are poisoned already; without `trigger`.
        triggered: triggered test rows with their true labels; without, `trigger` is put into the test rows.
        training: fields of `TuneSpec` that this attack needs otherwise than the comparison's `poison` says.
    """

    trigger: str | None = None
    poisoning: str = "full"
    count: int | None = None
    rate: float | None = None
    clean_label: bool = True
    select: Literal["random", "first"] = "random"
    poisoned: str | None = None
    triggered: str | None = None
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.trigger is None) == (self.poisoned is None):
            raise ValueError("give exactly one of trigger and poisoned")
        if self.poisoned is not None and self.triggered is None:
            raise ValueError("poisoned rows need triggered test rows beside them: give triggered")
        return self

    def attack(self, target: int, seed: int) -> AttackSpec:
        """The attack on data whose target is class number `target`; for an entry with a trigger."""
        return make_spec(
            AttackSpec,
            trigger=TriggerSpec.parse(self.trigger or ""),
            weights=PoisoningSpec.parse(self.poisoning),
            target=target,
            count=self.count,
            rate=self.rate,
            clean_label=self.clean_label,
            select=self.select,
            seed=seed,
        )


class DefenseEntry(Spec):
    """One defence: by its registered name, or as files of texts that somebody rewrote.

    Attributes:
        defense: a defence in its text form, such as ``strip:copies=20``.
        on: the weights that a detector is fitted on: theta_p, or the victim that was tuned from it.
        clean: rewrites of the test rows, row by row.
        triggered: rewrites of the triggered test rows, row by row, by the attack's name in this file;
            attacks that are not named have no such cell.
    """

    defense: str | None = None
    on: Literal["theta_p", "victim"] = "theta_p"
    clean: str | None = None
    triggered: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.defense is None) == (self.clean is None):
            raise ValueError("give exactly one of defense and clean (a file of rewrites)")
        return self


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
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no comparison; it has to be a YAML mapping with the keys data, attacks, ...")
    try:
        spec = make_spec(ComparisonSpec, **_with_root(content, data_root))
        _check_names(spec)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return spec


def _with_root(value: Any, root: Path | None) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_root(entry, root) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_root(entry, root) for entry in value]
    if isinstance(value, str) and DATA_PLACEHOLDER in value:
        if root is None:
            raise ConfigError(f"{value} is in the data root: say where that is with --data-root")
        return value.replace(DATA_PLACEHOLDER, str(root))
    return value


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
