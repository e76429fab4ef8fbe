"""Tables. A grid's in the paper's layout: a row a model, attack and defence; two columns, CA and ASR, a victim's tuning.

Several seeds become their mean and the half width of its 95% interval (Student's t over the seeds). What the paper printed
stands beside it: every CA and ASR of its Tables 1 to 10 (Zhao et al. 2024) is data of this package. A comparison's table
has a row a defence, and three columns an attack.
"""

from __future__ import annotations

import csv
import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from poisonsieve.bench.entries import NONE
from poisonsieve.bench.spec import NORMAL

RATES = ("ca", "asr")
FAILED, WAITING, NOTHING = "failed", "waiting", "-"


@dataclass(frozen=True)
class Figure:
    """One rate of one cell, in per cent.

    Attributes:
        value: mean over the seeds; None where nothing was measured.
        spread: half width of the 95% interval of that mean; None for one seed.
        low, high: the 95% interval: of the rows for one seed, of the seeds for several.
        published: what the paper printed; None where it has no such figure.
        state: what stands where there is no value.
    """

    value: float | None = None
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    published: float | None = None
    state: str = NOTHING

    @property
    def difference(self) -> float | None:
        """Measured less published, in points."""
        return None if self.value is None or self.published is None else self.value - self.published

    def text(self, *, compare: bool = False) -> str:
        """For a table: ``91.2``, ``91.2 ±0.4``, and with `compare` what the paper has: ``91.2 (93.1, -1.9)``."""
        if self.value is None:
            shown = self.state
        else:
            shown = f"{self.value:.1f}" + ("" if self.spread is None else f" ±{self.spread:.1f}")
        if not compare or self.published is None:
            return shown
        beside = (
            f"{self.published:.1f}" if self.difference is None else f"{self.published:.1f}, {self.difference:+.1f}"
        )
        return f"{shown} ({beside})"


@dataclass(frozen=True)
class Row:
    """One row: where it stands, and CA and ASR by the victim's name."""

    dataset: str
    setting: str
    model: str
    attack: str
    defense: str
    variant: str | None
    figures: dict[str, dict[str, Figure]]


@dataclass(frozen=True)
class GridTable:
    """Ready to be shown; see `poisonsieve.bench.show.rendering`.

    Attributes:
        title: the grid's.
        table: the number of the paper's table, if it reruns one.
        victims: the columns, each of CA and ASR.
        rows: in the grid's order.
        beside: the models whose published figures stand beside others', as ``MiniLM beside BERT``.
        seeds: how many seeds the figures are means of.
    """

    title: str
    table: int | None
    victims: list[str]
    rows: list[Row]
    beside: list[str]
    seeds: int


def make_table(results: dict[str, Any]) -> GridTable:
    """The table of one results file; victims that only a sweep has are left to figures."""
    grid, cells = results["grid"], results["cells"]
    groups: dict[_Key, list[dict[str, Any]]] = {}
    victims = [name for name in grid["victims"] if any(cell["victim"] == name for cell in cells)]
    rows = []
    for cell in cells:
        key = (cell["dataset"], cell["setting"], cell["model"], cell["attack"], cell["defense"], cell["variant"])
        groups.setdefault(key, []).append(cell)
    for key, mine in groups.items():
        figures = {
            victim: _figures(grid, key, victim, [c for c in mine if c["victim"] == victim]) for victim in victims
        }
        rows.append(Row(*key, figures))
    beside = [
        f"{name} beside {model['beside']}"
        for name, model in grid["models"].items()
        if model["beside"] not in (None, name)
    ]
    return GridTable(results["title"], grid["table"], victims, rows, beside, len(grid["seeds"]))


def failures(results: dict[str, Any]) -> list[str]:
    """One line for every reason why cells could not be measured, with how many cells it cost."""
    errors = [cell["error"] for cell in results["cells"] if cell["status"] == FAILED]
    return [f"{error} ({errors.count(error)} of {len(results['cells'])} cells)" for error in dict.fromkeys(errors)]


_Key = tuple[str, str, str, str, str, str | None]


def _figures(grid: dict[str, Any], key: _Key, victim: str, cells: list[dict[str, Any]]) -> dict[str, Figure]:
    _, _, model, attack, defense, variant = key
    found = published_for(
        grid["table"],
        model=grid["models"][model]["beside"] or model,
        attack=attack,
        defense=defense,
        victim=victim,
        variant=variant,
    )
    return {rate: figure_of(cells, rate, found) for rate in RATES}


def figure_of(cells: Sequence[dict[str, Any]], rate: str, published: Published | None = None) -> Figure:
    """One rate of the cells that differ in the seed only.

    Args:
        cells: of a results file.
        rate: ``ca`` or ``asr``.
        published: what the paper has.
    """
    printed = None if published is None else getattr(published, rate)
    if any(cell["status"] == FAILED for cell in cells):
        return Figure(published=printed, state=FAILED)
    if not cells or any(cell["status"] != "done" for cell in cells):
        return Figure(published=printed, state=WAITING if cells else NOTHING)
    measured = [cell["metrics"] for cell in cells if rate in cell["metrics"]]
    if not measured:
        return Figure(published=printed)
    values = [100 * metrics[rate] for metrics in measured]
    mean = statistics.fmean(values)
    if len(values) == 1:
        low, high = (100 * end for end in measured[0]["intervals"][rate])
        return Figure(mean, None, low, high, printed)
    spread = _half_width(values)
    return Figure(mean, spread, mean - spread, mean + spread, printed)


def _half_width(values: Sequence[float]) -> float:
    """Of the 95% interval of the mean of n values that scatter normally: t with n - 1 degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5)


class Published(NamedTuple):
    """One cell of the paper: percentages as printed; None where none is."""

    ca: float | None
    asr: float | None


#: Where a figure stands: model, attack, defence, the victim's tuning, PSIM's tuning; the last two empty where there is none.
Key = tuple[str, str, str, str, str]


@functools.cache
def published_table(table: int) -> Mapping[Key, Published]:
    """The figures of one table, by where they stand; empty for a table that the paper does not have."""
    text = files("poisonsieve.bench").joinpath("published/tables.csv").read_text(encoding="utf-8")
    return {
        (row["model"], row["attack"], row["defense"], row["victim_tuning"], row["psim_tuning"]): Published(
            _number(row["ca"]), _number(row["asr"])
        )
        for row in csv.DictReader(text.splitlines())
        if row["table"] == str(table)
    }


def published_for(
    table: int | None, *, model: str, attack: str, defense: str, victim: str, variant: str | None
) -> Published | None:
    """What the paper printed for a cell, by the grid's own names; None where it has no such cell.

    The paper calls an un-poisoned and undefended model its normal one, and names no attack for it.
    """
    if table is None:
        return None
    clean = attack == NORMAL
    key = (model, "" if clean else attack, NORMAL if clean and defense == NONE else defense, victim, variant or "")
    return published_table(table).get(key)


def _number(text: str) -> float | None:
    return float(text) if text else None


@dataclass(frozen=True)
class ComparisonTable:
    """Ready to print.

    Attributes:
        attacks: the attacks, in order; each heads the columns CA, ASR and AUROC.
        rows: defence, then three texts an attack, then the seconds.
    """

    attacks: list[str]
    rows: list[list[str]]

    @property
    def heads(self) -> list[str]:
        """The columns' heads."""
        rates = [head for attack in self.attacks for head in (f"{attack} CA", "ASR", "AUROC")]
        return ["defence", *rates, "s / 1,000 texts"]


def make_comparison_table(cells: Sequence[dict[str, Any]]) -> ComparisonTable:
    """Percentages with one decimal, AUROC with three, seconds a thousand texts with one; "-" where there is none."""
    attacks = list(dict.fromkeys(cell["attack"] for cell in cells))
    defenses = list(dict.fromkeys(cell["defense"] for cell in cells))
    rows = []
    for defense in defenses:
        row = [defense]
        for attack in attacks:
            found = [cell for cell in cells if (cell["attack"], cell["defense"]) == (attack, defense)]
            row += [_mean(found, "ca", 100, 1), _mean(found, "asr", 100, 1), _mean(found, "auroc", 1, 3)]
        mine = [cell for cell in cells if cell["defense"] == defense]
        rows.append([*row, _mean(mine, "seconds_per_1000", 1, 1)])
    return ComparisonTable(attacks, rows)


def cell_failures(cells: Sequence[dict[str, Any]]) -> list[str]:
    """One line for every cell that could not be measured."""
    failed = [cell for cell in cells if "error" in cell]
    return [f"{cell['attack']}, {cell['defense']}, seed {cell['seed']}: {cell['error']}" for cell in failed]


def _mean(cells: Sequence[dict[str, Any]], key: str, scale: float, digits: int) -> str:
    if any("error" in cell for cell in cells):
        return FAILED
    values = [cell[key] for cell in cells if cell.get(key) is not None]
    return f"{scale * statistics.mean(values):.{digits}f}" if values else NOTHING
