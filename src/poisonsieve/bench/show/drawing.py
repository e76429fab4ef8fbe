"""The paper's Figures 1, 3 and 4, drawn from a grid's results.

Figure 1 compares CA and ASR of full tuning and P-tuning v1. Figures 3 and 4 have panels of CA and ASR over one
setting, without a defence and with one ("w/D").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from poisonsieve.bench.entries import NONE
from poisonsieve.bench.show.figures import LIGHT, Palette, canvas
from poisonsieve.bench.show.rendering import display_name
from poisonsieve.bench.show.table import RATES, CellRate, cell_rate, make_table
from poisonsieve.bench.spec import GAMMA
from poisonsieve.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COMPARED = ("full", "p_tuning_v1")  # Figure 1's victims
_ATTACK = "BadNet"  # and its attack
_FONT = 9.0
_STYLES = {"": "-", "w/D": "--"}


def draw(results: dict[str, Any], palette: Palette = LIGHT) -> Figure:
    """Draw the figure of a grid's results: the panels of its sweeps, or Figure 1 if it has none.

    Raises:
        ConfigError: the results have no cells to draw.
        PoisonsieveError: matplotlib is not installed.
    """
    return draw_sweeps(results, palette) if results["grid"]["sweeps"] else draw_figure_1(results, palette)


def draw_figure_1(results: dict[str, Any], palette: Palette = LIGHT) -> Figure:
    """Draw Figure 1: bars of CA and ASR of victims tuned by full tuning and P-tuning v1 from BadNet's weights.

    Diamonds mark the values that the paper's tables print for the same cells; a note below says what was not measured
    alike.
    """
    table = make_table(results)
    rows = [row for row in table.rows if row.attack == _ATTACK and row.defense == NONE]
    victims = [victim for victim in _COMPARED if victim in table.victims]
    if not rows or len(victims) < 2:
        raise ConfigError(
            f"there is nothing to draw: Figure 1 needs undefended cells of {_ATTACK} for full and p_tuning_v1"
        )
    figure, panels = _canvas(len(rows), palette)
    for axes, row in zip(panels, rows, strict=True):
        for index, victim in enumerate(victims):
            for offset, (rate, colour) in enumerate(zip(RATES, (palette.clean, palette.triggered), strict=True)):
                point = row.rates[victim][rate]
                place = index + 0.36 * offset - 0.18
                _bar(axes, place, point, colour, rate.upper(), palette)
        axes.set_xticks(range(len(victims)), labels=[display_name(victim) for victim in victims])
        axes.set_title(f"{row.model}, {row.dataset}", fontsize=_FONT, color=palette.text)
    if table.beside:
        figure.supxlabel("\n".join(table.beside), fontsize=_FONT, color=palette.text)
    return _finished(figure, panels, palette)


def draw_sweeps(results: dict[str, Any], palette: Palette = LIGHT) -> Figure:
    """Draw Figures 3 and 4: one panel per sweep, with lines for CA and ASR without and with the first defence.

    Points over several seeds have their 95% interval.
    """
    grid = results["grid"]
    attacks = [name for name, attack in grid["attacks"].items() if not attack["clean"]]
    defenses = [name for name in grid["defenses"] if name != NONE]
    figure, panels = _canvas(len(grid["sweeps"]), palette)
    for axes, (name, sweep) in zip(panels, grid["sweeps"].items(), strict=True):
        for rate, colour in zip(RATES, (palette.clean, palette.triggered), strict=True):
            for defense, suffix in [(NONE, ""), *((defense, "w/D") for defense in defenses[:1])]:
                points = [_swept(results, name, sweep, value, attacks[0], defense, rate) for value in sweep["values"]]
                _line(axes, points, colour, f"{rate.upper()} {suffix}".strip(), _STYLES[suffix])
        values = [f"{value:g}" if isinstance(value, int | float) else str(value) for value in sweep["values"]]
        axes.set_xticks(range(len(values)), labels=values)
        axes.set_title(
            f"({name}) {display_name(sweep['victim'])}: {sweep['field']}", fontsize=_FONT, color=palette.text
        )
    return _finished(figure, panels, palette)


def _swept(
    results: dict[str, Any], name: str, sweep: dict[str, Any], value: Any, attack: str, defense: str, rate: str
) -> CellRate:
    """Return one point: a victim of its own or, for gamma, the same scores judged at another threshold."""
    gamma = sweep["field"] == GAMMA
    victim = sweep["victim"] if gamma else f"{sweep['victim']}[{sweep['field']}={value}]"
    wanted = {"attack": attack, "defense": defense, "victim": victim}
    cells = [cell for cell in results["cells"] if wanted.items() <= cell.items()]
    if gamma and defense != NONE:
        cells = [
            {**cell, "metrics": cell["swept"][f"{name}={value}"]} if cell["status"] == "done" else cell
            for cell in cells
        ]
    return cell_rate(cells, rate)


def _canvas(count: int, palette: Palette) -> tuple[Figure, list[Axes]]:
    figure, panels = canvas(palette, count, (4.6, 3.3))
    for axes in panels:
        axes.tick_params(labelsize=_FONT)
        axes.set_ylim(-2, 102)
        axes.set_ylabel("per cent", color=palette.text, fontsize=_FONT)
    return figure, panels


def _bar(axes: Axes, place: float, point: CellRate, colour: str, label: str, palette: Palette) -> None:
    if point.value is not None and point.low is not None and point.high is not None:
        ends = [[max(point.value - point.low, 0)], [max(point.high - point.value, 0)]]
        axes.bar(place, point.value, 0.34, color=colour, alpha=0.75, label=label)
        axes.errorbar(place, point.value, ends, color=palette.text, capsize=3, linewidth=1)
    if point.published is not None:
        axes.plot(
            place, point.published, marker="D", color=palette.text, markersize=5, linestyle="", label="the paper"
        )


def _line(axes: Axes, points: Sequence[CellRate], colour: str, label: str, style: str) -> None:
    """Draw the measured points, with a gap where one is missing."""
    values = [float("nan") if point.value is None else point.value for point in points]
    axes.plot(range(len(values)), values, style, marker="o", markersize=4, color=colour, label=label)
    for place, point in enumerate(points):
        if point.value is not None and point.spread is not None:
            axes.errorbar(place, point.value, point.spread, color=colour, capsize=2, linewidth=1)


def _finished(figure: Figure, panels: Sequence[Axes], palette: Palette) -> Figure:
    """Add one legend for all panels, with each name once."""
    named = {
        name: handle
        for axes in panels
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)  # a panel may lack a bar
    }
    figure.legend(
        list(named.values()),
        list(named),
        loc="outside upper center",
        ncols=max(len(named), 1),
        frameon=False,
        labelcolor=palette.text,
        fontsize=_FONT,
    )
    return figure
