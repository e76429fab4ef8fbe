"""How well each way of guarding tells triggered text, from scores that a grid has kept: a table to stand beside the costs.

    poisonsieve bench run benchmarks/guard_quality.yaml --scale packaged --out GRID
    python benchmarks/guard_quality.py GRID/grids/guard_quality-packaged --out docs/results

Several grids may be given, such as the core grid's: a cell is taken from the first that has it. For each data set, attack
and victim there are AUROC, the share of triggered rows above gamma at an FRR of 1% (the mean over calibrations), and the
share of clean test rows above it. A victim's ASR without a guard stands beside: a trigger that it has forgotten need not be
found.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from poisonsieve.thresholds import gamma_for_frr

FRR = 0.01
#: The grid's defences, by their names in the table of costs.
WAYS = {
    "psim": "PSIM",
    "psim rarity": "psim-rarity",
    "rarity, one pass": "rarity",
    "one pass": "mahalanobis",
    "msp, one pass": "msp",
    "cascade": "cascade",
}
ON_THETA_P = ("PSIM", "psim-rarity")
WANTED = (
    ("SST-2", "BadNet"),
    ("SST-2", "InSent"),
    ("SST-2", "InSent, dirty-label"),
    ("SST-2, target 1", "SynAttack"),
    ("SST-2, target 1", "SynAttack, dirty-label"),
    ("AG News", "BadNet"),
    ("movie reviews", "BadNet"),
    ("movie reviews", "InSent"),
    ("movie reviews", "InSent, dirty-label"),
)


@dataclass(frozen=True)
class Quality:
    """How well a way tells the triggered rows of an attack; `victim` is None where it reads none."""

    way: str
    victim: str | None
    dataset: str
    attack: str
    auroc: float
    detected: float
    frr: float

    @property
    def column(self) -> tuple[str, str]:
        return self.dataset, self.attack

    def __str__(self) -> str:
        return f"{self.auroc:.3f} / {self.detected:.2f} ({self.frr:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="What each way of guarding finds, from kept scores.")
    parser.add_argument("grids", type=Path, nargs="+", help="folders of grids, GRID/grids/NAME")
    parser.add_argument("--out", type=Path, help="folder for guard_quality.json and guard_quality.md")
    options = parser.parse_args()
    cells = [(grid, cell) for grid in options.grids for cell in cells_of(grid)]
    found, rates = list(qualities(cells)), rates_of(cells)
    text = table_of(found, rates)
    print(text)
    if options.out is not None:
        rows = json.dumps([asdict(quality) for quality in found], indent=1)
        (options.out / "guard_quality.json").write_text(rows + "\n", encoding="utf-8")
        (options.out / "guard_quality.md").write_text(f"# What a guard finds\n\n{text}\n", encoding="utf-8")


def cells_of(grid: Path) -> Iterator[dict[str, Any]]:
    """The grid's finished cells of seed 0 that the table has room for, whichever run has made them.

    A cell whose guard was removed since is left out.
    """
    for place in sorted((grid / "cells").glob("*.json")):
        cell = json.loads(place.read_text(encoding="utf-8"))
        wanted = cell["status"] == "done" and cell["seed"] == 0 and (cell["dataset"], cell["attack"]) in WANTED
        if wanted and all((grid.parents[1] / stage["folder"]).is_dir() for stage in cell["stages"]):
            yield cell


def qualities(cells: Sequence[tuple[Path, dict[str, Any]]]) -> Iterator[Quality]:
    known = set()
    for grid, cell in cells:
        way = WAYS.get(cell["defense"])
        if way is None or cell["variant"] is not None:
            continue
        victim = None if way in ON_THETA_P else cell["victim"]
        key = (way, victim, cell["dataset"], cell["attack"])
        if key not in known:
            known.add(key)
            yield Quality(*key, *measured(*kept(grid.parents[1], cell)))


def kept(store: Path, cell: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The guard's scores of calibration rows, clean test rows and triggered test rows."""
    folder = {stage["kind"]: store / stage["folder"] for stage in cell["stages"]}
    calibration = json.loads((folder["guard"] / "calibration.json").read_text(encoding="utf-8"))["scores"]
    rows = pq.read_table(folder["confidences"] / "rows.parquet").to_pandas()
    clean, triggered = (rows.loc[rows["set"] == name, "confidence"].to_numpy() for name in ("clean", "triggered"))
    return np.array(calibration, dtype=np.float64), clean, triggered


def measured(calibration: np.ndarray, clean: np.ndarray, triggered: np.ndarray) -> tuple[float, float, float]:
    """AUROC, and the shares of triggered and of clean rows above gamma; a row without a score is rejected, and left out."""
    gamma = gamma_for_frr(calibration[np.isfinite(calibration)], FRR).gamma
    clean, triggered = (scores[np.isfinite(scores)] for scores in (clean, triggered))
    truth = np.r_[np.zeros(len(clean)), np.ones(len(triggered))]
    auroc = roc_auc_score(truth, np.r_[clean, triggered])
    return float(auroc), float((triggered > gamma).mean()), float((clean > gamma).mean())


def rates_of(cells: Sequence[tuple[Path, dict[str, Any]]]) -> dict[tuple[str, str, str], float]:
    """Each victim's ASR without a guard, by data set, attack and victim."""
    bare = [cell for _, cell in cells if cell["defense"] == "none" and "asr" in cell["metrics"]]
    return {(cell["dataset"], cell["attack"], cell["victim"]): cell["metrics"]["asr"] for cell in reversed(bare)}


def table_of(found: Sequence[Quality], rates: dict[tuple[str, str, str], float]) -> str:
    columns = [column for column in WANTED if any(quality.column == column for quality in found)]
    victims = dict.fromkeys(quality.victim for quality in found if quality.victim)
    lines = [
        "| way | reads | " + " | ".join(", ".join(column) for column in columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for way, victim in [*((way, None) for way in ON_THETA_P), *((way, each) for each in victims for way in _ways())]:
        cells = {quality.column: quality for quality in found if (quality.way, quality.victim) == (way, victim)}
        if cells:
            reads = f"the {victim} victim" if victim else "a copy of theta_p"
            lines.append(
                f"| {way} | {reads} | " + " | ".join(str(cells.get(column, "")) for column in columns) + " |"
            )
    for victim in victims:
        shown = [rates.get((*column, victim)) for column in columns]
        numbers = " | ".join("" if rate is None else f"{rate:.3f}" for rate in shown)
        lines.append(f"| (ASR without a guard) | the {victim} victim | {numbers} |")
    note = (
        f"AUROC / share of triggered rows detected at FRR {FRR} (FRR seen on clean test rows). One run each, seed 0."
    )
    return "\n".join([*lines, "", note])


def _ways() -> list[str]:
    return [way for way in WAYS.values() if way not in ON_THETA_P]


if __name__ == "__main__":
    main()
