"""One HTML file with a store's tables, figures, settings and versions; whole in itself, nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from poisonsieve.bench.show import figures
from poisonsieve.bench.show.drawing import draw
from poisonsieve.bench.show.rendering import heads, lines, notes
from poisonsieve.bench.show.table import failures, make_table
from poisonsieve.errors import ConfigError, PoisonsieveError
from poisonsieve.storage import writing_file


def write_report(path: Path, results: Sequence[dict[str, Any]], title: str) -> None:
    """Write the results of one or more grids as one HTML file, published figures beside the measured ones.

    Raises:
        OutputError: the file could not be written.
        PoisonsieveError: matplotlib or jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise PoisonsieveError('reports need matplotlib and jinja2; pip install "poisonsieve[report]"') from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("poisonsieve.bench").joinpath("templates/grid.html").read_text(encoding="utf-8")
    html = environment.from_string(source).render(title=title, pages=[_page(record) for record in results])
    with writing_file(path) as stream:
        stream.write(html)


def _page(results: dict[str, Any]) -> dict[str, Any]:
    table = make_table(results)
    compare = table.table is not None
    states = [cell["status"] for cell in results["cells"]]
    return {
        "title": table.title,
        "state": ", ".join(f"{states.count(state)} cells {state}" for state in dict.fromkeys(states)),
        "heads": heads(table),
        "lines": lines(table, compare=compare),
        "notes": notes(table, compare=compare),
        "figure": _figure(results),
        "failures": failures(results),
        "settings": yaml.safe_dump(results["grid"], sort_keys=False, allow_unicode=True),
        "environments": _environments(results),
    }


def _figure(results: dict[str, Any]) -> dict[str, str] | None:
    """The grid's figure for light and dark pages; None where its cells make none."""
    try:
        light, dark = (figures.svg_data_uri(draw(results, palette)) for palette in (figures.LIGHT, figures.DARK))
    except ConfigError:
        return None
    return {"light": light, "dark": dark, "alt": "Clean accuracy and attack success rate, in per cent"}


def _environments(results: dict[str, Any]) -> str:
    """Every machine and set of versions that cells were scored with, and how many cells."""
    found = [json.dumps(cell["environment"], sort_keys=True) for cell in results["cells"] if "environment" in cell]
    return yaml.safe_dump(
        [{"cells": found.count(text), **json.loads(text)} for text in dict.fromkeys(found)], sort_keys=False
    )
