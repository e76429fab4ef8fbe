"""A grid of experiments, read from one YAML file that may define several scales, and its cells.

Imports nothing heavy, so that a finished grid is checked in seconds. `poisonsieve.bench.checks` looks up what its
names refer to: whether a defence exists, and whether a model supports a tuning.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

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
#: The field of a sweep that needs no training: stored scores are judged again.
GAMMA = "gamma"
#: The scale of a file that ships which reads packaged data, so that it needs no data root.
PACKAGED = "packaged"
#: The axes that `--only` accepts.
AXES = ("dataset", "setting", "model", "attack", "defense", "variant", "victim", "seed")

_Spec = TypeVar("_Spec", bound=Spec)


class RunOptions(Spec):
    """How to run stages. None of it affects a result beyond its last digits, so it is not part of a stage's key.

    Attributes:
        progress: draw progress bars on stderr.
        report_to: see `GridSpec`.
        processes: number of processes that train one model together, each on its own GPU if there are GPUs.
        launch_config: an `accelerate` config file for launching them; None for plain data parallelism (DDP).
    """

    progress: bool = False
    report_to: str = "none"
    processes: int = Field(1, ge=1)
    launch_config: Path | None = None


class GridSpec(Spec):
    """A grid of experiments; every combination that the entries allow is a cell.

    Attributes:
        title: title of its tables.
        table, figure: number of the paper's table or figure that it reruns, if any.
        datasets, models, attacks, defenses, victims: the axes, by their names in tables. An entry of `victims` has
            the settings of a tuning and its `method`; `vary` crosses a defence with settings of its own.
        poison: settings of the attacker's full tuning: fields of `TuneSpec`, and `preset`.
        threshold: threshold rule of the detectors.
        sweeps: panels of a figure, by name.
        seeds: seeds; the whole grid runs once for each.
        resources: resources of a stage on a cluster.
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
    threshold: ThresholdEntry = ThresholdEntry(frr_mean=0.01)
    sweeps: dict[str, Sweep] = Field(default_factory=dict)
    seeds: list[int] = Field(default=[0], min_length=1)
    resources: Resources = Resources()
    report_to: str = "none"

    @model_validator(mode="before")
    @classmethod
    def _no_psim(cls, values: Any) -> Any:
        """Refuse a key of earlier versions."""
        if isinstance(values, dict) and "psim" in values:
            raise ValueError(
                "psim is no longer a key; write these settings under the defence they belong to, as its vary: "
                "defenses: {psim: {defense: psim, vary: {p_tuning_v1: {method: p_tuning_v1}}}}"
            )
        return values

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        """Require that every name used in one part of the file is defined in another."""
        for name, attack in self.attacks.items():
            _require_known(f"attacks.{name}.defenses", attack.defenses or [], self.defenses)
            _require_known(f"attacks.{name}.floors", attack.floors or [], self.attacks)
            _require_known(f"attacks.{name}.datasets", attack.datasets or {}, self.datasets)
            for dataset in attack.datasets or {}:
                with naming(f"attacks.{name}.datasets.{dataset}"):
                    attack.on(dataset)
        for name, rows in self.datasets.items():
            _require_known(f"datasets.{name}.attacks", rows.attacks or [], self.attacks)
        for name, defense in self.defenses.items():
            _require_known(f"defenses.{name}.triggered", defense.triggered, self.attacks, "no attack")
            _require_known(f"defenses.{name}.datasets", defense.datasets or [], self.datasets)
        for name, model in self.models.items():
            _require_known(f"models.{name}.tunings", model.tunings or [], self.victims)
            _require_known(f"models.{name}.victims", model.victims, self.victims)
        for name, sweep in self.sweeps.items():
            _require_known(f"sweeps.{name}.victim", [sweep.victim], self.victims)
        return self

    def runs(self, attack: str, dataset: str) -> bool:
        """Tell whether an attack runs on a data set; both may restrict it, by their keys in the file."""
        entry, listed = self.attacks[attack], self.datasets[dataset].attacks
        if entry.datasets is not None and dataset not in entry.datasets:
            return False
        return listed is None or entry.clean or attack in listed

    def all_attacks(self) -> dict[str, GridAttack]:
        """Return every attack, and its variants on single data sets, by their keys in the file."""
        elsewhere = {
            f"{name}.datasets.{dataset}": attack.on(dataset)
            for name, attack in self.attacks.items()
            for dataset, changes in (attack.datasets or {}).items()
            if changes
        }
        return {**self.attacks, **elsewhere}

    def all_victims(self) -> dict[str, dict[str, Any]]:
        """Return the settings of every victim, including those of the sweeps."""
        swept = {
            sweep.named(value): {**self.victims[sweep.victim], sweep.field: value}
            for sweep in self.sweeps.values()
            if sweep.field != GAMMA
            for value in sweep.values
        }
        return {**self.victims, **swept}


def load_grid(path: Path, *, scale: str | None = None, data_root: Path | None = None) -> GridSpec:
    """Read a grid file at one scale; see `read_experiment`.

    Raises:
        ConfigError: the file cannot be read, has no such scale, needs a data root, or has an unknown key or name.
    """
    wanted = "grid; it must be a YAML mapping with the keys datasets, models, attacks, ..."
    return read_experiment(path, wanted, scale, data_root, lambda content: make_spec(GridSpec, **content))


def read_experiment(
    path: Path, wanted: str, scale: str | None, data_root: Path | None, make: Callable[[dict[str, Any]], _Spec]
) -> _Spec:
    """Read the file of a grid or a comparison at one scale.

    Args:
        path: the YAML file. Its section ``scale`` lists changes by scale: mappings are merged key by key, null
            removes an entry, anything else replaces the value. With ``like``, a scale starts from another one.
        wanted: what the file should contain, for the error.
        scale: name of a scale; None: ``paper`` if there is one, else the file as it stands.
        data_root: folder that replaces ``{data}``.
        make: makes a spec of the content.

    Raises:
        ConfigError: the file cannot be read, has no such scale, needs a data root, or `make` refuses its content.
    """
    content = read_mapping(path, wanted)
    try:
        chosen = at_scale(content, scale)
        try:
            chosen = with_root(chosen, data_root and data_root.absolute())
        except ConfigError as error:
            if data_root is None and PACKAGED in (content.get("scale") or {}):
                raise ConfigError(f"{error}, or run it on packaged data with --scale {PACKAGED}") from None
            raise
        return make(chosen)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def at_scale(content: dict[str, Any], scale: str | None) -> dict[str, Any]:
    """Return the file's content with the changes of one scale applied.

    Raises:
        ConfigError: there is no such scale, the section is not a mapping of mappings, or a scale is like itself.
    """
    rest = {key: value for key, value in content.items() if key != "scale"}
    scales = content.get("scale") or {}
    if not isinstance(scales, dict) or not all(isinstance(changes, dict | None) for changes in scales.values()):
        raise ConfigError("scale must be a mapping from names such as small to the values that change there")
    wanted = scale if scale is not None or "paper" not in scales else "paper"
    steps: list[dict[str, Any]] = []
    passed: list[str] = []
    while wanted is not None:
        if wanted not in scales:
            raise ConfigError(f"scale has no {wanted!r}; it has: {', '.join(map(str, scales)) or 'nothing'}")
        if wanted in passed:
            raise ConfigError(f"scale.{wanted}.like leads back to {wanted!r}; name a scale that does not")
        passed.append(wanted)
        changes = dict(scales[wanted] or {})
        wanted = changes.pop("like", None)
        steps.append(changes)
    return functools.reduce(merged, reversed(steps), rest)


class CellSpec(Spec):
    """One cell: its value on every axis, by the grid's own names.

    Attributes:
        dataset, model, attack, defense, victim: names of entries of the grid.
        setting: the data set's setting.
        variant: name of an entry of the defence's `vary`; None if it has none.
        seed: seed of everything random.
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
    """Return all cells, ordered by data set, model, attack, defence, variant, victim and seed."""
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
        if grid.runs(attack, dataset)
        for defense, variant in _defenses(grid, attack, dataset)
        for victim in victims_of(grid, model)
        for seed in grid.seeds
    ]


def select(cells: Sequence[CellSpec], only: Mapping[str, Collection[str]]) -> list[CellSpec]:
    """Return the cells whose values are among those requested, on every axis requested.

    Args:
        cells: cells to choose from.
        only: values by axis, as text.

    Raises:
        ConfigError: there is no such axis, or no cell has such a value on it.
    """
    for axis, values in only.items():
        if axis not in AXES:
            raise ConfigError(f"--only {axis}=...: there is no such axis; choose from: {', '.join(AXES)}")
        known = list(dict.fromkeys(str(getattr(cell, axis)) for cell in cells))
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"--only {axis}={unknown[0]}: no cell has that value; choose from: {', '.join(known)}")
    return [cell for cell in cells if all(str(getattr(cell, axis)) in values for axis, values in only.items())]


def victims_of(grid: GridSpec, model: str) -> list[str]:
    """Return the names of a model's victims, including those of sweeps."""
    allowed = grid.models[model].tunings
    names = [name for name in grid.victims if allowed is None or name in allowed]
    plain = {sweep.named(value): sweep.victim for sweep in grid.sweeps.values() for value in sweep.values}
    return [*names, *(name for name in grid.all_victims() if plain.get(name) in names)]


def _defenses(grid: GridSpec, attack: str, dataset: str) -> Iterator[tuple[str, str | None]]:
    """Yield the defences against an attack on a data set, each with the names of its variants."""
    wanted = grid.attacks[attack].defenses
    for name, entry in grid.defenses.items():
        if wanted is not None and name not in wanted:
            continue
        if entry.datasets is not None and dataset not in entry.datasets:
            continue
        if entry.clean is not None and not grid.attacks[attack].clean and attack not in entry.triggered:
            continue  # nobody rewrote this attack's rows
        yield from ((name, variant) for variant in entry.variants)


def _require_known(where: str, names: Any, known: Any, what: str = "not defined") -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{where} names {', '.join(unknown)}, which is {what}; choose from: {', '.join(known)}")
