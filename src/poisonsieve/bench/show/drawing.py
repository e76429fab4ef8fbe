"""The paper's Figures 1, 3 and 4 from a grid's results.

Figure 1 sets CA and ASR of full tuning beside P-tuning v1's. Figures 3 and 4 are panels of CA and ASR over one setting,
without a defence and with one ("w/D").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from poisonsieve.bench.entries import NONE
from poisonsieve.bench.show.figures import LIGHT, Palette, canvas
from poisonsieve.bench.show.rendering import shown
from poisonsieve.bench.show.table import RATES, Figure, figure_of, make_table
from poisonsieve.bench.spec import GAMMA
from poisonsieve.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_COMPARED = ("full", "p_tuning_v1")  # Figure 1's victims
_ATTACK = "BadNet"  # and its attack
_FONT = 9.0
_STYLES = {"": "-", "w/D": "--"}


def draw(results: dict[str, Any], palette: Palette = LIGHT) -> Drawing:
    """The figure that a grid's results hold: the panels of its sweeps, or, without sweeps, Figure 1.

    Raises:
        ConfigError: the results have no cells to draw.
        PoisonsieveError: matplotlib is not installed.
    """
    return draw_sweeps(results, palette) if results["grid"]["sweeps"] else draw_first(results, palette)


def draw_first(results: dict[str, Any], palette: Palette = LIGHT) -> Drawing:
    """Figure 1: bars of CA and ASR of victims tuned in full and by P-tuning v1 from BadNet's weights.

    What the paper's tables print for the same cells is marked by a diamond.
    """
    table = make_table(results)
    rows = [row for row in table.rows if row.attack == _ATTACK and row.defense == NONE]
    victims = [victim for victim in _COMPARED if victim in table.victims]
    if not rows or len(victims) < 2:
        raise ConfigError(
            f"there is nothing to draw: Figure 1 needs undefended cells of {_ATTACK} for full and p_tuning_v1"
        )
    drawing, panels = _canvas(len(rows), palette)
    for axes, row in zip(panels, rows, strict=True):
        for index, victim in enumerate(victims):
            for offset, (rate, colour) in enumerate(zip(RATES, (palette.clean, palette.triggered), strict=True)):
                figure = row.figures[victim][rate]
                place = index + 0.36 * offset - 0.18
                _bar(axes, place, figure, colour, rate.upper() if index == 0 else None, palette)
        axes.set_xticks(range(len(victims)), labels=[shown(victim) for victim in victims])
        axes.set_title(f"{row.model}, {row.dataset}", fontsize=_FONT, color=palette.text)
    return _finished(drawing, panels, palette)


def draw_sweeps(results: dict[str, Any], palette: Palette = LIGHT) -> Drawing:
    """Figures 3 and 4: a panel a sweep, a line each for CA and ASR without and with the first defence.

    Points with several seeds carry their 95% interval.
    """
    grid = results["grid"]
    attacks = [name for name, attack in grid["attacks"].items() if not attack["clean"]]
    defenses = [name for name in grid["defenses"] if name != NONE]
    drawing, panels = _canvas(len(grid["sweeps"]), palette)
    for axes, (name, sweep) in zip(panels, grid["sweeps"].items(), strict=True):
        for rate, colour in zip(RATES, (palette.clean, palette.triggered), strict=True):
            for defense, suffix in [(NONE, ""), *((defense, "w/D") for defense in defenses[:1])]:
                figures = [
                    _swept(results, name, sweep, value, attacks[0], defense, rate) for value in sweep["values"]
                ]
                _line(axes, figures, colour, f"{rate.upper()} {suffix}".strip(), _STYLES[suffix])
        values = [f"{value:g}" if isinstance(value, int | float) else str(value) for value in sweep["values"]]
        axes.set_xticks(range(len(values)), labels=values)
        axes.set_title(f"({name}) {shown(sweep['victim'])}: {sweep['field']}", fontsize=_FONT, color=palette.text)
    return _finished(drawing, panels, palette)


def _swept(
    results: dict[str, Any], name: str, sweep: dict[str, Any], value: Any, attack: str, defense: str, rate: str
) -> Figure:
    """One point: a victim of its own, or, for gamma, the same scores judged at another bar."""
    gamma = sweep["field"] == GAMMA
    victim = sweep["victim"] if gamma else f"{sweep['victim']}[{sweep['field']}={value}]"
    wanted = {"attack": attack, "defense": defense, "victim": victim}
    cells = [cell for cell in results["cells"] if wanted.items() <= cell.items()]
    if gamma and defense != NONE:
        cells = [
            {**cell, "metrics": cell["swept"][f"{name}={value}"]} if cell["status"] == "done" else cell
            for cell in cells
        ]
    return figure_of(cells, rate)


def _canvas(count: int, palette: Palette) -> tuple[Drawing, list[Axes]]:
    drawing, panels = canvas(palette, count, (4.6, 3.3))
    for axes in panels:
        axes.tick_params(labelsize=_FONT)
        axes.set_ylim(-2, 102)
        axes.set_ylabel("per cent", color=palette.text, fontsize=_FONT)
    return drawing, panels


def _bar(axes: Axes, place: float, figure: Figure, colour: str, label: str | None, palette: Palette) -> None:
    if figure.value is not None and figure.low is not None and figure.high is not None:
        ends = [[max(figure.value - figure.low, 0)], [max(figure.high - figure.value, 0)]]
        axes.bar(place, figure.value, 0.34, color=colour, alpha=0.75, label=label)
        axes.errorbar(place, figure.value, ends, color=palette.text, capsize=3, linewidth=1)
    if figure.published is not None:
        axes.plot(place, figure.published, "D", color=palette.text, markersize=5, label=label and "the paper")


def _line(axes: Axes, figures: Sequence[Figure], colour: str, label: str, style: str) -> None:
    """Points that were measured; a gap where one was not."""
    values = [float("nan") if figure.value is None else figure.value for figure in figures]
    axes.plot(range(len(values)), values, style, marker="o", markersize=4, color=colour, label=label)
    for place, figure in enumerate(figures):
        if figure.value is not None and figure.spread is not None:
            axes.errorbar(place, figure.value, figure.spread, color=colour, capsize=2, linewidth=1)


def _finished(drawing: Drawing, panels: Sequence[Axes], palette: Palette) -> Drawing:
    """One legend for all panels, each name once."""
    named = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    drawing.legend(
        list(named.values()),
        list(named),
        loc="outside upper center",
        ncols=max(len(named), 1),
        frameon=False,
        labelcolor=palette.text,
        fontsize=_FONT,
    )
    return drawing
