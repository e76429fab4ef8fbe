r"""Write what each detector was shown to stop, from results of the core grid, into the package.

    python benchmarks/shown.py GRID/grids/core-cpu/results.json --out src/poisonsieve/defenses/shown.json

Counted are guarded victims whose attack took, by trigger family and number of classes; smoothed labels are a family of
their own. Detectors that read the victim are left out: a guard on theta_p is another thing.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

from poisonsieve.bench.results import read_results
from poisonsieve.yardstick.goal import judged_cells


def main() -> None:
    parser = argparse.ArgumentParser(description="What each detector was shown to stop.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    (record,) = read_results(options.results)
    entries = record["grid"]["defenses"]
    cells, _ = judged_cells(record)
    counts: dict[str, dict[tuple[str, int], list[bool]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        entry = entries[cell.defense]
        if cell.took and entry.get("on", "theta_p") == "theta_p":
            family = "smoothed labels" if cell.labels == "smoothed" else cell.family
            counts[entry["defense"]][family, cell.classes].append(cell.reached)
    written = {
        "models": ", ".join(sorted({cell.model for cell in cells})),
        "seeds": sorted({cell.seed for cell in cells}),
        "detectors": {
            name: [
                {"family": family, "classes": classes, "within": sum(reached), "cells": len(reached)}
                for (family, classes), reached in sorted(found.items())
            ]
            for name, found in sorted(counts.items())
            if ":" not in name
        },
    }
    text = json.dumps(written, indent=1)
    compact = re.sub(r"\{\s+(\"family\".*?)\s+\}", _on_one_line, text, flags=re.DOTALL)
    options.out.write_text(compact + "\n", encoding="utf-8")


def _on_one_line(entry: re.Match[str]) -> str:
    return "{" + " ".join(entry[1].split()) + "}"


if __name__ == "__main__":
    main()
