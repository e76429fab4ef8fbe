"""The core grid at scale `smoke`: on real weights and reviews, every row runs, and has what the goal is counted from."""

import json
import time

import pytest

MINUTES = 10

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 * MINUTES + 120)]  # it times itself


def test_every_row_runs_in_minutes(cli, tmp_path):
    started = time.monotonic()
    code, _, said = cli("bench", "run", "core", "--scale", "smoke", "--out", tmp_path)
    assert code == 0, said
    assert time.monotonic() - started < 60 * MINUTES
    results = json.loads((tmp_path / "grids" / "core-smoke" / "results.json").read_text())
    grid, cells = results["grid"], results["cells"]
    assert {cell["status"] for cell in cells} == {"done"}
    attacks = {name for name, attack in grid["attacks"].items() if not attack["clean"]}
    assert {cell["attack"] for cell in cells if cell["defense"] == "mahalanobis"} == attacks
    assert {cell["defense"] for cell in cells if cell["attack"] == "BadNet"} == set(grid["defenses"])
    (normal,) = [cell for cell in cells if cell["attack"] == "normal"]
    assert set(normal["metrics"]["floor"]) == attacks
    attacked = [cell for cell in cells if cell is not normal]
    assert all(cell["theta_p"]["dev_asr"] is not None for cell in attacked)
    assert all("accuracy_lost" in cell["metrics"] for cell in attacked if cell["defense"] != "none")

    code, table, _ = cli("bench", "table", tmp_path, "--goal", "--json")
    assert code == 0
    assert json.loads(table)["without_floor"] == 0
