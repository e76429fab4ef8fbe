"""A grid's results in the paper's layout: a row a model, attack and defence; two columns, CA and ASR, a victim's tuning.

Several seeds become their mean and the half width of its 95% interval (Student's t over the seeds).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from poisonsieve.bench.show.published import Published, published_for

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
    psim: str | None
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
    victims = [name for name in grid["victims"] if any(cell["victim"] == name for cell in cells)]
    rows = []
    for key, mine in _grouped(cells):
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


def _grouped(cells: Sequence[dict[str, Any]]) -> Iterator[tuple[_Key, list[dict[str, Any]]]]:
    """Cells by row, in the order in which the rows first come."""
    groups: dict[_Key, list[dict[str, Any]]] = {}
    for cell in cells:
        key = (cell["dataset"], cell["setting"], cell["model"], cell["attack"], cell["defense"], cell["psim"])
        groups.setdefault(key, []).append(cell)
    yield from groups.items()


def _figures(grid: dict[str, Any], key: _Key, victim: str, cells: list[dict[str, Any]]) -> dict[str, Figure]:
    _, _, model, attack, defense, psim = key
    found = published_for(
        grid["table"],
        model=grid["models"][model]["beside"] or model,
        attack=attack,
        defense=defense,
        victim=victim,
        psim=psim,
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
