"""What a guard did, as one HTML file for readers who will not open a notebook.

The file is self-contained: figures are inlined and nothing is fetched. Its texts come from an attacker, so every value
is escaped, invisible characters are spelt out, and the page forbids scripts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from poisonsieve.bench.show import figures
from poisonsieve.bench.show.report import fill_in
from poisonsieve.environment import require
from poisonsieve.metrics import Evaluation, Rate, evaluate_guard
from poisonsieve.storage import writing_file
from poisonsieve.thresholds import Threshold, is_flagged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from poisonsieve.guard.evaluation import Scores

_LONGEST_TEXT = 400  # characters shown of one example


@dataclass(frozen=True)
class Example:
    """One input for the report's table of verdicts.

    Attributes:
        text: the text as the guard read it.
        triggered: whether the text carries the trigger.
        label: true class.
        prediction: the victim's answer, unguarded; negative if it failed, which rejects the text.
        confidence: the guard's score; not finite if the text could not be scored.
    """

    text: str
    triggered: bool
    label: int
    prediction: int
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a report shows, as plain data; rates are computed from the arrays.

    Attributes:
        title: one line.
        summary: plain sentences on what was done.
        clean: outcomes of n clean test rows.
        triggered: outcomes of m triggered ones. A verdict may have another reason than the score (the victim failed);
            the figures use the scores alone.
        target: the class the attacker wants.
        threshold: gamma and how it was found.
        label_names: class names by index; None shows the numbers.
        examples: a few inputs to show with their verdicts.
        settings: the settings of the run; nested mappings are shown with dotted names.
        seconds: time of each stage.
        versions: versions of the software, by name.
    """

    title: str
    summary: Sequence[str]
    clean: Scores
    triggered: Scores
    target: int
    threshold: Threshold
    label_names: Sequence[str] | None = None
    examples: Sequence[Example] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def evaluate(self) -> Evaluation:
        """Return the rates of this report's rows at its gamma.

        Raises:
            DataError: the arrays do not match, or a group has no row to count.
        """
        return evaluate_guard(
            **self.rows(),
            clean_rejected=self.clean.rejected,
            triggered_rejected=self.triggered.rejected,
            target=self.target,
            gamma=self.threshold.gamma,
        )

    def rows(self) -> dict[str, npt.ArrayLike]:
        """Return the six arrays by the names that `evaluate_guard` and `sweep` use."""
        columns = {"labels": "labels", "predictions": "predictions", "scores": "confidences"}
        groups = {"clean": self.clean, "triggered": self.triggered}
        return {
            f"{group}_{name}": getattr(groups[group], column) for group in groups for name, column in columns.items()
        }


def require_report() -> None:
    """Refuse to go on without what a report needs.

    Raises:
        UnsupportedError: matplotlib or jinja2 is not installed.
    """
    require("report", "matplotlib", "jinja2")


def write_report(path: Path, report: Report) -> Path:
    """Write `report` as one self-contained HTML file, whole or not at all, and return its path.

    Raises:
        DataError: the arrays do not match, or a group has no row to count.
        OutputError: the file cannot be written.
        PoisonsieveError: matplotlib or jinja2 is not installed.
    """
    html = render_report(report)
    with writing_file(path) as stream:
        stream.write(html)
    return path


def render_report(report: Report) -> str:
    """Return the report's HTML; raises as `write_report` does."""
    require_report()
    template = files("poisonsieve.demo").joinpath("report.html").read_text(encoding="utf-8")
    return fill_in(template, **_page(report))


def _page(report: Report) -> dict[str, Any]:
    """Return the template's values."""
    evaluation = report.evaluate()
    return {
        "report": report,
        "target": _label(report, report.target),
        "evaluation": evaluation,
        "rates": {name: _rate(rate) for name, rate in evaluation.intervals.items()},
        "gamma": figures.format_confidence(evaluation.gamma),
        "unscored": int((~np.isfinite([*report.clean.confidences, *_attacked_scores(report)])).sum()),
        "figures": _figures(report, evaluation),
        "examples": [_example(report, example) for example in report.examples],
        "settings": {name: visible(str(value)) for name, value in _flat(report.settings).items()},
        "seconds": {name: f"{seconds:,.1f}" for name, seconds in report.seconds.items()},
    }


def _figures(report: Report, evaluation: Evaluation) -> list[dict[str, str]]:
    gamma = evaluation.gamma
    triggered_scores = _attacked_scores(report)
    axis = figures.ScoreAxis.fitting(report.clean.confidences, triggered_scores, gamma)
    swept = figures.sweep(np.unique([*axis.edges(201), gamma]), **report.rows(), target=report.target)

    def both(name: str, caption: str, alt: str, draw: Callable[[figures.Palette], Figure]) -> dict[str, str]:
        light, dark = (figures.svg_data_uri(draw(palette)) for palette in (figures.LIGHT, figures.DARK))
        return {"name": name, "caption": caption, "alt": alt, "light": light, "dark": dark}

    return [
        both(
            "Confidence",
            "The guard's score of each row: the higher, the more suspicious. Rows to the right of gamma are flagged.",
            "Histograms of the confidences of clean and triggered rows, with gamma as a vertical line",
            lambda palette: figures.confidence_histogram(report.clean.confidences, triggered_scores, gamma, palette),
        ),
        both(
            "Catching against rejecting",
            "What every other gamma would have given. The upper left is best; the dot is the gamma in use.",
            f"ROC curve; the area under it is {evaluation.auroc:.4f}",
            lambda palette: figures.roc(report.clean.confidences, triggered_scores, gamma, palette),
        ),
        both(
            "Gamma",
            "The guarded victim at other values of gamma, from the same scores. For reading only: gamma is never "
            "chosen from test rows.",
            "Clean accuracy and attack success rate against gamma, with the chosen gamma as a vertical line",
            lambda palette: figures.gamma_sweep(swept, axis, gamma, palette),
        ),
    ]


def _example(report: Report, example: Example) -> dict[str, Any]:
    scored = bool(np.isfinite(example.confidence))
    return {
        "text": visible(example.text),
        "kind": "triggered" if example.triggered else "clean",
        "label": _label(report, example.label),
        "prediction": _label(report, example.prediction),
        "confidence": figures.format_confidence(example.confidence) if scored else "could not be scored",
        "rejected": example.prediction < 0 or bool(is_flagged(example.confidence, report.threshold.gamma)),
    }


def visible(text: str) -> str:
    """Shorten a text to a readable length, with a code such as ``u200b`` for each invisible character.

    Zero-width and direction-changing characters make triggers, and they would also garble the page.
    """
    shown = text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " ..."
    return "".join(
        character if character.isprintable() or character in "\n\t" else f"\\u{ord(character):04x}"
        for character in shown
    )


def _label(report: Report, index: int) -> str:
    names = report.label_names or ()
    if index < 0:
        return "no answer"
    return visible(names[index]) if index < len(names) else str(index)


def _rate(rate: Rate) -> dict[str, str]:
    return {
        "value": f"{100 * rate.value:.1f}%",
        "interval": f"{100 * rate.low:.1f} to {100 * rate.high:.1f}",
        "count": f"{rate.count:,} of {rate.n:,}",
    }


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _attacked_scores(report: Report) -> npt.NDArray[Any]:
    """Return the scores of the triggered rows that count: those whose true label is not the target."""
    scores: npt.NDArray[Any] = report.triggered.confidences[report.triggered.labels != report.target]
    return scores
