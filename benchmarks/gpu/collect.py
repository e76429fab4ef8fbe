"""Puts the cells that calls brought back together, as one results file that `poisonsieve bench table` reads."""

import json
from pathlib import Path
from typing import Any

from gpu.grid import CELLS, axes_of, rank, read_cells
from gpu.parts import KitError


def collect(results: list[Path], out: Path) -> str:
    """Write `out/grids/NAME/results.json`; one line that says how the cells stand.

    Where several calls know of a cell, one that is done counts before one that failed or waits.

    Raises:
        KitError: a folder has no cells in it.
    """
    heads: dict[str, dict[str, Any]] = {}
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for folder in results:
        lines = read_cells(folder / CELLS)
        if not lines:
            raise KitError(f"{folder} has no {CELLS}; give folders that calls with the grid brought back")
        for line in lines:
            name = line["file"].partition("--")[0]
            if "head" in line:
                heads[name] = _joined(heads.get(name, {}), line["head"])
                continue
            known = cells.setdefault(name, {})
            key = axes_of(line["cell"])
            if key not in known or rank(line) > rank({"cell": known[key]}):
                known[key] = line["cell"]
    said = []
    for name, head in heads.items():
        file = out / "grids" / name / "results.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        own = list(cells[name].values())
        file.write_text(json.dumps({**head, "cells": own}, ensure_ascii=False) + "\n", encoding="utf-8")
        done = sum(cell["status"] == "done" for cell in own)
        said.append(f"{file}: {done} of {len(own)} cells done")
    return "\n".join(said)


def _joined(known: dict[str, Any], head: dict[str, Any]) -> dict[str, Any]:
    """One grid again: the data sets and models of all its files, in the order in which they come."""
    if not known:
        return head
    grid = {
        key: {**known["grid"][key], **value} if key in ("datasets", "models") else value
        for key, value in head["grid"].items()
    }
    return {**head, "grid": grid}
