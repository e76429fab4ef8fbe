"""The table of what each way finds: its figures, and which cells of a grid it is made from."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import guard_quality
import guard_speed
from guard_quality import FRR, WANTED, WAYS, Quality, measured
from interleaved import Spread
from poisonsieve.bench.spec import expand, load_grid

BENCHMARKS = Path(guard_quality.__file__).parent
CELL = {"dataset": "SST-2", "attack": "BadNet", "variant": None, "seed": 0, "status": "done", "metrics": {}}


def write_cell(store, defense, victim, triggered, **changes):
    """A cell of a grid with its guard and scores: clean rows score 0 to 1, and one triggered row for each number."""
    name = f"{defense}-{victim}"
    stages = [{"kind": kind, "folder": f"stages/{kind}/{name}"} for kind in ("guard", "confidences")]
    guard, scores = (store / stage["folder"] for stage in stages)
    for folder in (guard, scores, store / "grids" / "mine" / "cells"):
        folder.mkdir(parents=True, exist_ok=True)
    clean = np.linspace(0, 1, 400).tolist()
    (guard / "calibration.json").write_text(json.dumps({"scores": clean}))
    sets = ["clean"] * len(clean) + ["triggered"] * len(triggered)
    pd.DataFrame({"set": sets, "confidence": clean + triggered}).to_parquet(scores / "rows.parquet")
    cell = {**CELL, "defense": defense, "victim": victim, "stages": stages, **changes}
    (store / "grids" / "mine" / "cells" / f"{name}.json").write_text(json.dumps(cell))
    return guard


def test_figures_of_scores():
    clean = np.linspace(0, 1, 1000)
    auroc, detected, frr = measured(clean, clean, np.array([2.0, 2.0, 0.5, np.nan]))
    assert auroc == pytest.approx((1 + 1 + 0.5) / 3, abs=1e-3)
    assert detected == pytest.approx(2 / 3)
    assert 0 < frr <= FRR


def test_the_table_is_made_from_the_kept_scores_of_a_grid(tmp_path, monkeypatch, capsys):
    write_cell(tmp_path, "psim", "lora", [2.0, 2.0])
    write_cell(tmp_path, "rarity, one pass", "lora", [2.0, 2.0])
    write_cell(tmp_path, "rarity, one pass", "p_tuning_v1", [2.0, 0.5])
    write_cell(tmp_path, "none", "lora", [0.0], metrics={"asr": 0.875})
    write_cell(tmp_path, "cascade", "lora", [2.0], status="waiting")
    for gone in write_cell(tmp_path, "msp, one pass", "lora", [2.0]).iterdir():
        gone.unlink()
        gone.parent.rmdir()  # its guard was removed after the run
    monkeypatch.setattr(sys, "argv", ["guard_quality.py", str(tmp_path / "grids" / "mine"), "--out", str(tmp_path)])
    guard_quality.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:6]] == [
        ["| PSIM", "a copy of theta_p"],
        ["| rarity", "the lora victim"],
        ["| rarity", "the p_tuning_v1 victim"],
        ["| (ASR without a guard)", "the lora victim"],
    ]
    assert "| 1.000 / 1.00 (0.0" in lines[3]
    assert "/ 0.50 (0.0" in lines[4]
    assert lines[5].endswith("| 0.875 |")
    saved = json.loads((tmp_path / "guard_quality.json").read_text())
    assert [(row["way"], row["victim"]) for row in saved] == [
        ("PSIM", None),
        ("rarity", "lora"),
        ("rarity", "p_tuning_v1"),
    ]


@pytest.mark.parametrize("scale", [None, "packaged"])
def test_the_grid_has_every_way_and_no_cell_that_the_table_has_no_room_for(scale, tmp_path):
    cells = expand(load_grid(BENCHMARKS / "guard_quality.yaml", scale=scale, data_root=tmp_path))
    assert {cell.defense for cell in cells} == {"none", *WAYS}
    assert {(cell.dataset, cell.attack) for cell in cells} <= set(WANTED)


def test_costs_stand_beside_the_victim_that_is_told_worst():
    spread = Spread(1.0, 1.0, 1.0)
    row = guard_speed.Row("rarity", "one", spread, spread, 1.0, 1.0, 1.0, spread, 1.0, 0.5)
    found = [
        Quality("rarity", "lora", "SST-2", "BadNet", 1.0, 1.0, 0.01),
        Quality("rarity", "p_tuning_v1", "SST-2", "BadNet", 0.98, 0.7, 0.01),
        Quality("PSIM", None, "AG News", "BadNet", 0.99, 0.9, 0.01),
    ]
    report = json.loads((BENCHMARKS.parent / "docs" / "results" / "guard_speed.json").read_text())
    head, _, line, *_ = guard_speed.table_of([row], report, found).splitlines()
    assert head.endswith("| SST-2, BadNet | AG News, BadNet |")
    assert line.endswith("| 0.980 / 0.70 | - |")


def test_the_table_is_written_again_without_measuring(tmp_path, monkeypatch):
    place = BENCHMARKS.parent / "docs" / "results" / "guard_speed.json"
    monkeypatch.setattr(sys, "argv", ["guard_speed.py", "--again", str(place), "--out", str(tmp_path)])
    guard_speed.main()
    assert json.loads((tmp_path / "guard_speed.json").read_text()) == json.loads(place.read_text())
    assert "| psim-rarity | two |" in (tmp_path / "guard_speed.md").read_text()
