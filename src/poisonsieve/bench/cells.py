"""From a grid to its cells: one for every combination that the entries allow, in the order of the tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from poisonsieve.bench.entries import DefenseEntry
from poisonsieve.bench.spec import GridSpec
from poisonsieve.config import Spec
from poisonsieve.errors import ConfigError

#: What `--only` may ask for.
AXES = ("dataset", "setting", "model", "attack", "defense", "victim", "psim", "seed")


class CellSpec(Spec):
    """One cell: where it stands on every axis, by the grid's own names.

    Attributes:
        dataset, model, attack, defense, victim: names of entries of the grid.
        setting: the data set's.
        psim: name of an entry of `psim`, for a defence that is PSIM; else None.
        seed: decides everything that is drawn by chance.
    """

    dataset: str
    setting: str
    model: str
    attack: str
    defense: str
    victim: str
    psim: str | None = None
    seed: int = 0

    @property
    def words(self) -> str:
        """One line for people and for file names."""
        parts = [self.dataset, self.model, self.attack, self.defense, self.victim]
        swept = [] if self.psim is None else [f"psim-{self.psim}"]
        return "/".join([*parts, *swept, f"seed-{self.seed}"])


def expand(grid: GridSpec) -> list[CellSpec]:
    """All cells: data sets, then models, attacks, defences, victims, PSIM's tunings, and seeds innermost."""
    return [
        CellSpec(
            dataset=dataset,
            setting=grid.datasets[dataset].setting,
            model=model,
            attack=attack,
            defense=defense,
            victim=victim,
            psim=psim,
            seed=seed,
        )
        for dataset in grid.datasets
        for model in grid.models
        for attack in grid.attacks
        for defense, psim in _defenses(grid, attack)
        for victim in victims_of(grid, model)
        for seed in grid.seeds
    ]


def is_psim(entry: DefenseEntry) -> bool:
    """Whether an entry is PSIM, and so is crossed with PSIM's tunings."""
    return entry.defense is not None and entry.defense.partition(":")[0] == "psim"


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


def _defenses(grid: GridSpec, attack: str) -> Iterator[tuple[str, str | None]]:
    wanted = grid.attacks[attack].defenses
    for name, entry in grid.defenses.items():
        if wanted is not None and name not in wanted:
            continue
        if entry.clean is not None and not grid.attacks[attack].clean and attack not in entry.triggered:
            continue  # nobody rewrote this attack's rows
        yield from ((name, psim) for psim in (grid.psim if is_psim(entry) else [None]))


def victims_of(grid: GridSpec, model: str) -> list[str]:
    """A model's victims, with those that sweeps make of them."""
    allowed = grid.models[model].tunings
    names = [name for name in grid.victims if allowed is None or name in allowed]
    plain = {sweep.named(value): sweep.victim for sweep in grid.sweeps.values() for value in sweep.values}
    return [*names, *(name for name in grid.all_victims() if plain.get(name) in names)]
