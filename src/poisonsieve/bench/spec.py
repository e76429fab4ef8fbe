"""A grid: one YAML file, with sections for other scales; and the cells that its entries make.

Nothing heavy is imported here, so that a grid in which nothing changed is looked through in seconds. What the names in
it mean (is there such a defence, can this model do that tuning) is looked up by `poisonsieve.bench.checks`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from poisonsieve.bench.entries import (
    DatasetEntry,
    DefenseEntry,
    GridAttack,
    ModelEntry,
    Resources,
    Sweep,
    ThresholdEntry,
)
from poisonsieve.config import Spec, make_spec
from poisonsieve.errors import ConfigError, naming
from poisonsieve.parsing import merged, read_mapping, with_root

#: The entry of `attacks` whose weights nobody poisoned.
NORMAL = "normal"
#: The field of a sweep that is no training at all, and so is swept over stored scores.
GAMMA = "gamma"
#: What `--only` may ask for.
AXES = ("dataset", "setting", "model", "attack", "defense", "variant", "victim", "seed")


class How(Spec):
    """How stages are done: what decides nothing of a result but its last digits, and so is in no stage's name.

    Attributes:
        progress: draw progress bars on stderr.
        report_to: see `GridSpec`.
        processes: that train one model together, each with a GPU of its own where there are GPUs.
        launch_config: an `accelerate` config file to launch them by; without, they are plain data parallel (DDP).
    """

    progress: bool = False
    report_to: str = "none"
    processes: int = Field(1, ge=1)
    launch_config: Path | None = None


class GridSpec(Spec):
    """A grid of experiments; every combination that the entries allow is a cell.

    Attributes:
        title: what its tables are headed with.
        table, figure: the table or figure of the paper that it reruns, if it does.
        datasets, models, attacks, defenses, victims: the axes, by the names that tables give them. `victims` are settings
            of a tuning with its `method`; a defence's `vary` crosses it with settings of its own.
        poison: settings of the attacker's full tuning: fields of `TuneSpec`, and `preset`.
        threshold: how detectors judge.
        sweeps: panels of a figure, by name.
        seeds: the whole grid once for each.
        resources: for a cluster.
        report_to: the Trainer's own trackers (``tensorboard``, ``wandb``, ...); ``none`` tracks nothing.
    """

    title: str
    table: int | None = None
    figure: int | None = None
    datasets: dict[str, DatasetEntry] = Field(min_length=1)
    models: dict[str, ModelEntry] = Field(min_length=1)
    attacks: dict[str, GridAttack] = Field(min_length=1)
    defenses: dict[str, DefenseEntry] = Field(min_length=1)
    victims: dict[str, dict[str, Any]] = Field(min_length=1)
    poison: dict[str, Any] = Field(default_factory=dict)
    threshold: ThresholdEntry = ThresholdEntry(frr=0.01)
    sweeps: dict[str, Sweep] = Field(default_factory=dict)
    seeds: list[int] = Field(default=[0], min_length=1)
    resources: Resources = Resources()
    report_to: str = "none"

    @model_validator(mode="before")
    @classmethod
    def _no_psim(cls, values: Any) -> Any:
        """A key of earlier files."""
        if isinstance(values, dict) and "psim" in values:
            raise ValueError(
                "psim: write these settings under the defence that they are of, as its vary: "
                "defenses: {psim: {defense: psim, vary: {p_tuning_v1: {method: p_tuning_v1}}}}"
            )
        return values

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        """Every name that one part of the file uses is one that another part gives."""
        for name, attack in self.attacks.items():
            _require_known(f"attacks.{name}.defenses", attack.defenses or [], self.defenses)
            _require_known(f"attacks.{name}.floors", attack.floors or [], self.attacks)
            _require_known(f"attacks.{name}.datasets", attack.datasets or {}, self.datasets)
            for dataset in attack.datasets or {}:
                with naming(f"attacks.{name}.datasets.{dataset}"):
                    attack.on(dataset)
        for name, defense in self.defenses.items():
            _require_known(f"defenses.{name}.triggered", defense.triggered, self.attacks, "no attack")
        for name, model in self.models.items():
            _require_known(f"models.{name}.tunings", model.tunings or [], self.victims)
            _require_known(f"models.{name}.victims", model.victims, self.victims)
        for name, sweep in self.sweeps.items():
            _require_known(f"sweeps.{name}.victim", [sweep.victim], self.victims)
        return self

    def all_attacks(self) -> dict[str, GridAttack]:
        """Every attack, and beside it those that are otherwise on some data set, by where they stand in the file."""
        elsewhere = {
            f"{name}.datasets.{dataset}": attack.on(dataset)
            for name, attack in self.attacks.items()
            for dataset, changes in (attack.datasets or {}).items()
            if changes
        }
        return {**self.attacks, **elsewhere}

    def all_victims(self) -> dict[str, dict[str, Any]]:
        """The settings of every victim, those of the sweeps beside the plain ones."""
        swept = {
            sweep.named(value): {**self.victims[sweep.victim], sweep.field: value}
            for sweep in self.sweeps.values()
            if sweep.field != GAMMA
            for value in sweep.values
        }
        return {**self.victims, **swept}


def load_grid(path: Path, *, scale: str | None = None, data_root: Path | None = None) -> GridSpec:
    """Read a grid file at one scale.

    Args:
        path: the YAML file. Its section ``scale`` has, by name, what is otherwise at that scale: mappings are merged
            key by key, null takes an entry away, anything else replaces what was there.
        scale: one of those names; None: ``paper`` where there is one, else the file as it stands.
        data_root: what ``{data}`` stands for in it.

    Raises:
        ConfigError: the file cannot be read, has no such scale, a key or name in it is unknown, or it needs a root.
    """
    content = read_mapping(path, "grid; it has to be a YAML mapping with the keys datasets, models, attacks, ...")
    try:
        return make_spec(GridSpec, **with_root(at_scale(content, scale), data_root and data_root.absolute()))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def at_scale(content: dict[str, Any], scale: str | None) -> dict[str, Any]:
    """The file's content with the changes of one scale made.

    Raises:
        ConfigError: there is no such scale, or the section is no mapping of mappings.
    """
    rest = {key: value for key, value in content.items() if key != "scale"}
    scales = content.get("scale") or {}
    if not isinstance(scales, dict) or not all(isinstance(changes, dict | None) for changes in scales.values()):
        raise ConfigError("scale has to be a mapping from names such as small to what is otherwise there")
    if scale is None and "paper" not in scales:
        return rest
    wanted = scale or "paper"
    if wanted not in scales:
        raise ConfigError(f"scale has no {wanted!r}; it has: {', '.join(map(str, scales)) or 'nothing'}")
    return merged(rest, scales[wanted] or {})


class CellSpec(Spec):
    """One cell: where it stands on every axis, by the grid's own names.

    Attributes:
        dataset, model, attack, defense, victim: names of entries of the grid.
        setting: the data set's.
        variant: name of an entry of the defence's `vary`; None where it has none.
        seed: decides everything that is drawn by chance.
    """

    dataset: str
    setting: str
    model: str
    attack: str
    defense: str
    victim: str
    variant: str | None = None
    seed: int = 0


def expand(grid: GridSpec) -> list[CellSpec]:
    """All cells: data sets, then models, attacks, defences, their variants, victims, and seeds innermost."""
    return [
        CellSpec(
            dataset=dataset,
            setting=grid.datasets[dataset].setting,
            model=model,
            attack=attack,
            defense=defense,
            variant=variant,
            victim=victim,
            seed=seed,
        )
        for dataset in grid.datasets
        for model in grid.models
        for attack in grid.attacks
        if grid.attacks[attack].runs_on(dataset)
        for defense, variant in _defenses(grid, attack)
        for victim in victims_of(grid, model)
        for seed in grid.seeds
    ]


def select(cells: Sequence[CellSpec], only: Mapping[str, Collection[str]]) -> list[CellSpec]:
    """The cells that are on one of the asked-for values of every asked-for axis.

    Args:
        cells: to choose from.
        only: values by axis, as text.

    Raises:
        ConfigError: there is no such axis, or no cell has such a value on it.
    """
    for axis, values in only.items():
        if axis not in AXES:
            raise ConfigError(f"--only {axis}=...: there is no such axis; there are: {', '.join(AXES)}")
        known = list(dict.fromkeys(str(getattr(cell, axis)) for cell in cells))
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"--only {axis}={unknown[0]}: no cell has that; there are: {', '.join(known)}")
    return [cell for cell in cells if all(str(getattr(cell, axis)) in values for axis, values in only.items())]


def victims_of(grid: GridSpec, model: str) -> list[str]:
    """A model's victims, with those that sweeps make of them."""
    allowed = grid.models[model].tunings
    names = [name for name in grid.victims if allowed is None or name in allowed]
    plain = {sweep.named(value): sweep.victim for sweep in grid.sweeps.values() for value in sweep.values}
    return [*names, *(name for name in grid.all_victims() if plain.get(name) in names)]


def _defenses(grid: GridSpec, attack: str) -> Iterator[tuple[str, str | None]]:
    """The defences before an attack, each with the names of its variants."""
    wanted = grid.attacks[attack].defenses
    for name, entry in grid.defenses.items():
        if wanted is not None and name not in wanted:
            continue
        if entry.clean is not None and not grid.attacks[attack].clean and attack not in entry.triggered:
            continue  # nobody rewrote this attack's rows
        yield from ((name, variant) for variant in entry.variants)


def _require_known(where: str, names: Any, known: Any, what: str = "not there") -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{where} names {', '.join(unknown)}, which is {what}; there are: {', '.join(known)}")
