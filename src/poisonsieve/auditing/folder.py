"""The folder of an audit: `audit.json`, and `report.html` for people.

The report is whole in itself: its figure is drawn in place and nothing is fetched. Class names, words and texts come from
elsewhere, so every value is escaped, what cannot be seen is spelt out, and the page forbids scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from poisonsieve.auditing.result import AuditResult, Finding
from poisonsieve.environment import require
from poisonsieve.storage import write_json, writing_folder

_WIDTH, _MARGIN = 640, 40  # of the figure, in pixels
_LOWEST, _HIGHEST = -0.6, 1.0  # of its axis
_FINDINGS = 15


@dataclass(frozen=True)
class Figure:
    """Places on the axis of the excess, in pixels.

    Attributes:
        null: of the findings of the controls.
        suspect: of the strongest finding of each class of the audited model.
        ticks: of the axis, with their labels.
    """

    null: Sequence[float]
    suspect: Sequence[float]
    ticks: Sequence[tuple[float, str]]


def write_audit(result: AuditResult, folder: Path) -> None:
    """Write both files into a folder, whole or not at all.

    Raises:
        OutputError: it could not be written.
        UnsupportedError: jinja2 is not installed.
    """
    html = render(result)
    with writing_folder(folder) as target:
        write_json(target / "audit.json", result.to_dict())
        (target / "report.html").write_text(html, encoding="utf-8")


def render(result: AuditResult) -> str:
    """Return the report's HTML.

    Raises:
        UnsupportedError: jinja2 is not installed.
    """
    require("report", "jinja2")
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"seen": seen, "percent": lambda rate: f"{100 * rate:.0f}%"}
    source = files("poisonsieve.auditing").joinpath("report.html").read_text(encoding="utf-8")
    shown: dict[str, Any] = {"result": result, "figure": _figure(result), "findings": result.findings[:_FINDINGS]}
    return environment.from_string(source).render(**shown).encode("utf-8", "replace").decode("utf-8")


def seen(text: str) -> str:
    r"""Return the text with a code such as ``\u200b`` for each character that cannot be seen."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else f"\\u{ord(character):04x}"
        for character in text
    )


def _figure(result: AuditResult) -> Figure:
    strongest: Sequence[Finding] = list(result.strongest.values())
    ticks = [(_place(tenth / 5), f"{20 * tenth}%") for tenth in range(-3, 6)]
    return Figure([_place(value) for value in result.null], [_place(found.excess) for found in strongest], ticks)


def _place(excess: float) -> float:
    share = (min(max(excess, _LOWEST), _HIGHEST) - _LOWEST) / (_HIGHEST - _LOWEST)
    return round(_MARGIN + share * (_WIDTH - 2 * _MARGIN), 1)
