"""Tables of a grid or a comparison, as data.

A grid's table has the paper's layout: one row per model, attack and defence; columns CA and ASR per victim. Several
seeds become their mean and the half width of its 95% interval (Student's t over the seeds). Published values stand
beside it: every CA and ASR of the paper's Tables 1 to 10 (Zhao et al. 2024) comes with this package. A comparison's
table has one row per defence, and three columns per attack.
"""

from __future__ import annotations

import csv
import functools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from poisonsieve.bench.entries import NONE
from poisonsieve.bench.spec import NORMAL

RATES = ("ca", "asr")
FAILED, WAITING, NOTHING = "failed", "waiting", "-"


@dataclass(frozen=True)
class CellRate:
    """One rate of one cell, in per cent.

    Attributes:
        value: mean over the seeds; None if nothing was measured.
        spread: half width of the 95% interval of that mean; None for one seed.
        low, high: the 95% interval, over the rows for one seed and over the seeds for several.
        published: the paper's value; None if it has none.
        state: shown instead of a missing value.
    """

    value: float | None = None
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    published: float | None = None
    state: str = NOTHING

    @property
    def difference(self) -> float | None:
        """Measured minus published, in points."""
        return None if self.value is None or self.published is None else self.value - self.published

    def text(self, *, compare: bool = False) -> str:
        """Format for a table, such as ``91.2 ±0.4``; with `compare` add the paper's value: ``91.2 (93.1, -1.9)``."""
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
    """One row: its place on the axes, and CA and ASR by the victim's name."""

    dataset: str
    setting: str
    model: str
    attack: str
    defense: str
    variant: str | None
    rates: dict[str, dict[str, CellRate]]


@dataclass(frozen=True)
class GridTable:
    """A table that `poisonsieve.bench.show.rendering` can render.

    Attributes:
        title: the grid's title.
        table: number of the paper's table that the grid reruns, if any.
        victims: victims, each with the columns CA and ASR.
        rows: rows in the grid's order.
        beside: what published values stand beside that was not measured alike, such as ``MiniLM beside BERT: a different
            model`` and ``movie reviews beside sst2: different data``.
        seeds: number of seeds behind each mean.
    """

    title: str
    table: int | None
    victims: list[str]
    rows: list[Row]
    beside: list[str]
    seeds: int


def make_table(results: dict[str, Any]) -> GridTable:
    """Return the table of one results file; victims that only a sweep has are left to figures."""
    grid, cells = results["grid"], results["cells"]
    groups: dict[_Key, list[dict[str, Any]]] = {}
    victims = [name for name in grid["victims"] if any(cell["victim"] == name for cell in cells)]
    rows = []
    for cell in cells:
        key = (cell["dataset"], cell["setting"], cell["model"], cell["attack"], cell["defense"], cell["variant"])
        groups.setdefault(key, []).append(cell)
    for key, mine in groups.items():
        rates = {victim: _rates(grid, key, victim, [c for c in mine if c["victim"] == victim]) for victim in victims}
        dataset = grid["datasets"][key[0]].get("name") or key[0]
        rows.append(Row(dataset, *key[1:], rates))
    return GridTable(results["title"], grid["table"], victims, rows, _beside(grid), len(grid["seeds"]))


def _beside(grid: dict[str, Any]) -> list[str]:
    """Return the models and data that have another's published values beside them, and say so."""
    if grid["table"] is None:
        return []
    models = {name: model["beside"] for name, model in grid["models"].items()}
    stand_ins = {key: entry.get("name") for key, entry in grid["datasets"].items()}
    return [
        *(
            f"{mine} beside {papers}: a different model"
            for mine, papers in models.items()
            if papers not in (None, mine)
        ),
        *(
            f"{mine} beside {papers}: different data"
            for papers, mine in stand_ins.items()
            if mine not in (None, papers)
        ),
    ]


def failures(results: dict[str, Any]) -> list[str]:
    """Return one line per reason why cells failed, with the number of cells it cost."""
    total = len(results["cells"])
    return [f"{reason} ({count} of {total} cells)" for reason, count in reasons(results).items()]


def reasons(results: dict[str, Any]) -> dict[str, int]:
    """Return the reasons why cells failed, each with the number of cells it cost."""
    return Counter(cell.get("cause", cell["error"]) for cell in results["cells"] if cell["status"] == FAILED)


_Key = tuple[str, str, str, str, str, str | None]


def _rates(grid: dict[str, Any], key: _Key, victim: str, cells: list[dict[str, Any]]) -> dict[str, CellRate]:
    _, _, model, attack, defense, variant = key
    found = published_for(
        grid["table"],
        model=grid["models"][model]["beside"] or model,
        attack=attack,
        defense=defense,
        victim=victim,
        variant=variant,
    )
    return {rate: cell_rate(cells, rate, found) for rate in RATES}


def cell_rate(cells: Sequence[dict[str, Any]], rate: str, published: Published | None = None) -> CellRate:
    """Return one rate of cells that differ only in the seed.

    Args:
        cells: cells of a results file.
        rate: ``ca`` or ``asr``.
        published: the paper's values.
    """
    printed = None if published is None else getattr(published, rate)
    if any(cell["status"] == FAILED for cell in cells):
        return CellRate(published=printed, state=FAILED)
    if not cells or any(cell["status"] != "done" for cell in cells):
        return CellRate(published=printed, state=WAITING if cells else NOTHING)
    measured = [cell["metrics"] for cell in cells if rate in cell["metrics"]]
    if not measured:
        return CellRate(published=printed)
    values = [100 * metrics[rate] for metrics in measured]
    mean = statistics.fmean(values)
    if len(values) == 1:
        low, high = (100 * end for end in measured[0]["intervals"][rate])
        return CellRate(mean, None, low, high, printed)
    spread = _half_width(values)
    return CellRate(mean, spread, mean - spread, mean + spread, printed)


def _half_width(values: Sequence[float]) -> float:
    """Return the half width of the 95% interval of a mean: t with n - 1 degrees of freedom, for normal values."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5)


class Published(NamedTuple):
    """One cell of the paper, percentages as printed; None for a missing one."""

    ca: float | None
    asr: float | None


#: Place of a published value: model, attack, defence, the victim's tuning, PSIM's tuning; the last two may be empty.
Key = tuple[str, str, str, str, str]


@functools.cache
def published_table(table: int) -> Mapping[Key, Published]:
    """Return the paper's values of one table by their place; empty if the paper has no such table."""
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
    """Return the paper's values for a cell, by the grid's own names; None if it has no such cell.

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
    """A table ready to print.

    Attributes:
        attacks: the attacks in order; each has the columns CA, ASR and AUROC.
        rows: the defence, then three texts per attack, then the seconds.
    """

    attacks: list[str]
    rows: list[list[str]]

    @property
    def heads(self) -> list[str]:
        """The column headers."""
        rates = [head for attack in self.attacks for head in (f"{attack} CA", "ASR", "AUROC")]
        return ["defence", *rates, "s / 1,000 texts"]


def make_comparison_table(cells: Sequence[dict[str, Any]]) -> ComparisonTable:
    """Return percentages and seconds per 1,000 texts with one decimal, AUROC with three; "-" for a missing value."""
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
    """Return one line per reason why cells could not be measured, with the first of these cells."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        if "error" in cell:
            alike.setdefault(cell.get("cause", cell["error"]), []).append(cell)
    return [f"{_places(mine)}: {mine[0]['error'] if len(mine) == 1 else cause}" for cause, mine in alike.items()]


def _places(cells: Sequence[dict[str, Any]], shown: int = 3) -> str:
    named = "; ".join(f"{cell['attack']}, {cell['defense']}, seed {cell['seed']}" for cell in cells[:shown])
    more = len(cells) - shown
    return named + (f" and {more} more cell{'s' * (more > 1)}" if more > 0 else "")


def _mean(cells: Sequence[dict[str, Any]], key: str, scale: float, digits: int) -> str:
    if any("error" in cell for cell in cells):
        return FAILED
    values = [cell[key] for cell in cells if cell.get(key) is not None]
    return f"{scale * statistics.mean(values):.{digits}f}" if values else NOTHING
