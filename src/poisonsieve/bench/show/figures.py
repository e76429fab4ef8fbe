"""Figures of stored scores, as matplotlib figures without global state.

Each figure is drawn with a palette, so that a report can hold one for light and one for dark pages. Blue is clean and
orange is triggered throughout (Okabe and Ito's colour-blind-safe set).
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from poisonsieve.environment import require
from poisonsieve.metrics import attack_success_rate, clean_accuracy, score_ranks
from poisonsieve.thresholds import is_flagged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]

_CROWDED = 0.9  # values between this and 1 cannot be told apart on a linear axis
_NEAREST = 1e-7  # a logit axis ends this far from 0 and 1; a 32-bit softmax cannot come closer to 1 without being 1
_FONT = 10.5  # points; a figure shrinks to two thirds on a phone
_LOGIT_TICKS = (1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)


@dataclass(frozen=True)
class Palette:
    """Colours for one page background; the figure itself is transparent."""

    text: str
    grid: str
    clean: str
    triggered: str


LIGHT = Palette(text="#24292f", grid="#d0d7de", clean="#0072b2", triggered="#d55e00")
DARK = Palette(text="#d7dde4", grid="#3a424c", clean="#56b4e9", triggered="#e69f00")


@dataclass(frozen=True)
class ScoreAxis:
    """The axis for scores: from `low` to `high`, linear or in log-odds."""

    low: float
    high: float
    logit: bool

    @classmethod
    def fitting(cls, clean_scores: npt.ArrayLike, triggered_scores: npt.ArrayLike, gamma: float) -> ScoreAxis:
        """Return an axis on which these scores and gamma can be told apart.

        Confidences of a sure model crowd just below 1. If gamma or half of the triggered rows are there, the axis is
        in log-odds, which gives 0.99, 0.999 and 0.9999 equal room. Scores that are not probabilities get a linear
        axis.
        """
        scores = np.concatenate([np.asarray(clean_scores, float), np.asarray(triggered_scores, float), [gamma]])
        finite = scores[np.isfinite(scores)]
        low, high = float(finite.min()), float(finite.max())
        probabilities = low >= 0 and high <= 1
        if probabilities and max(gamma, _middle(triggered_scores)) > _CROWDED:
            return cls(max(low, _NEAREST), min(high, 1 - _NEAREST), logit=True)._widened()
        return cls(low, high, logit=False)._widened(bounded=probabilities)

    def edges(self, count: int) -> FloatArray:
        """Return `count` points from end to end, evenly spaced on the drawn axis; float64, shape (count,)."""
        if not self.logit:
            return np.linspace(self.low, self.high, count)
        between = expit(np.linspace(logit(self.low), logit(self.high), count))[1:-1]
        return np.array([self.low, *between, self.high])

    def inside(self, scores: npt.ArrayLike) -> FloatArray:
        """Return the finite scores, each clipped to the range of the axis."""
        values = np.asarray(scores, dtype=np.float64)
        return np.clip(values[np.isfinite(values)], self.low, self.high)

    def apply(self, axes: Axes, name: str) -> None:
        """Set scale, limits, ticks and label of the x axis."""
        if self.logit:
            axes.set_xscale("logit")
            axes.set_xticks(self._ticks(), labels=[f"{tick:g}" for tick in self._ticks()])
            axes.set_xticks([], minor=True)
        axes.set_xlim(self.low, self.high)
        axes.set_xlabel(f"{name} (log-odds axis)" if self.logit else name)

    def _ticks(self) -> list[float]:
        room = (logit(self.high) - logit(self.low)) / 8
        kept: list[float] = []
        for tick in _LOGIT_TICKS:
            if self.low <= tick <= self.high and (not kept or logit(tick) - logit(kept[-1]) > room):
                kept.append(tick)
        return kept

    def _widened(self, *, bounded: bool = False) -> ScoreAxis:
        """Move the ends out a little, so that no row lies on the frame and a single value still has an axis."""
        if self.logit:
            low, high = expit(np.array([logit(self.low) - 0.3, logit(self.high) + 0.3]))
            return ScoreAxis(float(low), float(high), logit=True)
        margin = 0.02 * (self.high - self.low) or 0.02 * max(1.0, abs(self.low))
        low, high = self.low - margin, self.high + margin
        return ScoreAxis(max(low, 0.0), min(high, 1.0), False) if bounded else ScoreAxis(low, high, False)


@dataclass(frozen=True)
class Sweep:
    """Guarded CA and ASR, as fractions, at each of m thresholds; three float64 arrays of shape (m,)."""

    gammas: FloatArray
    ca: FloatArray
    asr: FloatArray


def sweep(
    gammas: npt.ArrayLike,
    *,
    clean_labels: npt.ArrayLike,
    clean_predictions: npt.ArrayLike,
    clean_scores: npt.ArrayLike,
    triggered_labels: npt.ArrayLike,
    triggered_predictions: npt.ArrayLike,
    triggered_scores: npt.ArrayLike,
    target: int,
) -> Sweep:
    """Compute guarded CA and ASR at each threshold, without training or scoring anything again.

    A sweep only describes. Never choose gamma from it, since it uses test rows and triggered rows.

    Args:
        gammas: thresholds, floats (m,).
        clean_labels: true classes of n clean rows; see `poisonsieve.metrics.evaluate_guard` for this and the others.
        clean_predictions: the victim's answers for them, unguarded.
        clean_scores: the guard's confidences.
        triggered_labels: true classes of the triggered rows.
        triggered_predictions: the victim's answers for them.
        triggered_scores: the guard's confidences.
        target: the class the attacker wants.

    Raises:
        DataError: arrays do not match, or no triggered row has a true label other than `target`.
        ConfigError: a gamma is not a number.
    """
    bars = np.asarray(gammas, dtype=np.float64)
    clean_accuracies = [
        clean_accuracy(clean_predictions, clean_labels, is_flagged(clean_scores, bar)).value for bar in bars
    ]
    attack_successes = [
        attack_success_rate(triggered_predictions, triggered_labels, target, is_flagged(triggered_scores, bar)).value
        for bar in bars
    ]
    return Sweep(bars, np.array(clean_accuracies), np.array(attack_successes))


def confidence_histogram(
    clean_scores: npt.ArrayLike, triggered_scores: npt.ArrayLike, gamma: float, palette: Palette = LIGHT
) -> Figure:
    """Draw histograms of clean and triggered confidences, with gamma; each group's bars sum to 1.

    Rows without a finite score count as flagged in the legend and have no place on the axis.
    """
    axis = ScoreAxis.fitting(clean_scores, triggered_scores, gamma)
    figure, (axes,) = canvas(palette)
    edges = axis.edges(41)
    for name, scores, colour in (
        ("clean", clean_scores, palette.clean),
        ("triggered", triggered_scores, palette.triggered),
    ):
        flagged = is_flagged(scores, gamma)
        counts, _ = np.histogram(axis.inside(scores), edges)
        label = f"{name}: {_percent(flagged.mean())} of {flagged.size:,} above gamma"
        axes.stairs(counts / flagged.size, edges, fill=True, color=colour, alpha=0.4)
        axes.stairs(counts / flagged.size, edges, color=colour, linewidth=1.4, label=label)
    _draw_gamma(axes, axis, gamma, palette)
    axis.apply(axes, "confidence")
    axes.set_ylabel("share of rows")
    _finish(axes, palette)
    return figure


def roc(
    clean_scores: npt.ArrayLike, triggered_scores: npt.ArrayLike, gamma: float, palette: Palette = LIGHT
) -> Figure:
    """Draw detection rate against false-rejection rate at every threshold, with the chosen gamma marked.

    The x axis is logarithmic above one row's share and linear below, since a guard is judged at a few per cent.
    """
    from sklearn.metrics import roc_curve

    ranks, is_triggered = score_ranks(clean_scores, triggered_scores)
    frr, detected, _ = roc_curve(is_triggered, ranks)
    one_row = 1 / np.asarray(clean_scores).size
    figure, (axes,) = canvas(palette)
    chance = np.geomspace(one_row / 10, 1, 200)
    axes.plot(chance, chance, color=palette.text, linewidth=1, linestyle=":", label="chance")
    axes.plot(frr, detected, color=palette.clean, linewidth=2, drawstyle="steps-post", label="every gamma")
    chosen = float(is_flagged(clean_scores, gamma).mean()), float(is_flagged(triggered_scores, gamma).mean())
    label = f"gamma {format_confidence(gamma)}: {_percent(chosen[1])} at {_percent(chosen[0])}"
    axes.plot(*chosen, "o", color=palette.triggered, markersize=8, label=label, clip_on=False, zorder=5)
    axes.set_xscale("symlog", linthresh=one_row)
    ticks = [0.0, *(tick for tick in (1e-4, 1e-3, 0.01, 0.1) if tick >= one_row), 1.0]
    axes.set_xticks(ticks, labels=[f"{100 * tick:g}%" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(0, 1)
    _percent_axis(axes)
    axes.set_xlabel("clean rows rejected (FRR)")
    axes.set_ylabel("triggered rows caught")
    _finish(axes, palette)
    return figure


def gamma_sweep(swept: Sweep, axis: ScoreAxis, gamma: float, palette: Palette = LIGHT) -> Figure:
    """Draw guarded CA and ASR against gamma, with the chosen gamma marked; `swept.gammas` must be increasing."""
    figure, (axes,) = canvas(palette)
    bars = axis.inside(swept.gammas)
    for rate, colour, style, label in (
        (swept.ca, palette.clean, "-", "CA (clean rows, higher is better)"),
        (swept.asr, palette.triggered, "-.", "ASR (triggered rows, lower is better)"),
    ):
        axes.plot(bars, rate, color=colour, linewidth=2, linestyle=style, label=label)
    _draw_gamma(axes, axis, gamma, palette)
    axis.apply(axes, "gamma")
    _percent_axis(axes)
    axes.set_ylabel("share of rows")
    _finish(axes, palette)
    return figure


def svg_data_uri(figure: Figure) -> str:
    """Return the figure as a ``data:`` address for an image tag; equal figures give equal text."""
    import matplotlib

    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "poisonsieve"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def format_confidence(value: float) -> str:
    """Format a confidence with as many digits as it takes to tell it from 1, at most 8."""
    gap = 1 - value
    digits = 4 if not 0 < gap < 1e-3 else min(8, 1 - math.floor(math.log10(gap)))
    return f"{value:.{digits}f}"


def canvas(palette: Palette, count: int = 1, size: tuple[float, float] = (4.5, 3.5)) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels, at most two side by side, each of `size` (width, height) in inches.

    Raises:
        PoisonsieveError: matplotlib is not installed.
    """
    require("report", "matplotlib")
    from matplotlib.figure import Figure

    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in panels[count:]:
        spare.set_visible(False)
    for axes in panels[:count]:
        axes.grid(color=palette.grid, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(colors=palette.text, labelsize=_FONT)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(palette.text)
    return figure, panels[:count]


def _draw_gamma(axes: Axes, axis: ScoreAxis, gamma: float, palette: Palette) -> None:
    label = f"gamma = {format_confidence(gamma)}"
    axes.axvline(axis.inside([gamma])[0], color=palette.text, linewidth=1.4, linestyle="--", label=label)


def _percent_axis(axes: Axes) -> None:
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], labels=["0%", "25%", "50%", "75%", "100%"])


def _finish(axes: Axes, palette: Palette) -> None:
    """Colour the axis labels, and put the legend above the plot, where it hides nothing."""
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=palette.text, fontsize=_FONT)
    above: tuple[float, float] = (0, 1.01)
    axes.legend(loc="lower left", bbox_to_anchor=above, frameon=False, labelcolor=palette.text, fontsize=_FONT)


def _middle(scores: npt.ArrayLike) -> float:
    values = np.asarray(scores, dtype=np.float64)
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
