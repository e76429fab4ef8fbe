"""A grid's tables and figures as one HTML file, for readers who will not open a notebook.

Nothing is fetched: figures are inlined. Every value is escaped, and the page forbids scripts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from poisonsieve.bench.show import figures
from poisonsieve.bench.show.drawing import draw
from poisonsieve.bench.show.rendering import by_victims, heads, left_out, lines, measured, notes
from poisonsieve.bench.show.table import failures, make_table
from poisonsieve.environment import require
from poisonsieve.errors import ConfigError
from poisonsieve.storage import writing_file

_ABREAST = 2  # victims of one table, so that a page of usual width shows it whole


def write_grid_report(path: Path, results: Sequence[dict[str, Any]], title: str) -> None:
    """Write the results of one or more grids as one HTML file, with published beside measured values.

    Raises:
        OutputError: the file cannot be written.
        PoisonsieveError: matplotlib or jinja2 is not installed.
    """
    require("report", "matplotlib", "jinja2")
    template = files("poisonsieve.bench").joinpath("templates", "grid.html").read_text(encoding="utf-8")
    html = fill_in(template, title=title, pages=[_grid_page(record) for record in results])
    with writing_file(path) as stream:
        stream.write(html)


def fill_in(template: str, **values: Any) -> str:
    """Fill in a template of this package; every value is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    html = environment.from_string(template).render(**values)
    return html.encode("utf-8", "replace").decode("utf-8")  # a damaged file can smuggle lone surrogates into a name


def _grid_page(results: dict[str, Any]) -> dict[str, Any]:
    table = make_table(results)
    shown, compare = measured(table), table.table is not None
    states = [cell["status"] for cell in results["cells"]]
    return {
        "title": table.title,
        "state": ", ".join(
            f"{states.count(state)} cell{'s' * (states.count(state) > 1)} {state}" for state in dict.fromkeys(states)
        ),
        "tables": [
            {"heads": heads(part), "lines": lines(part, compare=compare)}
            for part in by_victims(shown, _ABREAST if compare else 2 * _ABREAST)
        ],
        "notes": [*notes(table, compare=compare), *left_out(table, shown)],
        "figure": _grid_figure(results),
        "failures": failures(results),
        "settings": yaml.safe_dump(results["grid"], sort_keys=False, allow_unicode=True),
        "environments": _environments(results),
    }


def _grid_figure(results: dict[str, Any]) -> dict[str, str] | None:
    """Return the grid's figure for light and dark pages; None if its cells make none."""
    try:
        light, dark = (figures.svg_data_uri(draw(results, palette)) for palette in (figures.LIGHT, figures.DARK))
    except ConfigError:
        return None
    return {"light": light, "dark": dark, "alt": "Clean accuracy and attack success rate, in per cent"}


def _environments(results: dict[str, Any]) -> str:
    """Return every machine and set of versions that cells were scored with, and the number of cells."""
    found = [json.dumps(cell["environment"], sort_keys=True) for cell in results["cells"] if "environment" in cell]
    return yaml.safe_dump(
        [{"cells": found.count(text), **json.loads(text)} for text in dict.fromkeys(found)], sort_keys=False
    )
