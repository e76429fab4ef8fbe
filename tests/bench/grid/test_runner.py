"""A grid on tiny models: each thing made once, nothing made twice, failures recorded, thresholds judged from scores."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from poisonsieve.bench.grid.runner import run_grid
from poisonsieve.bench.grid.spec import ThresholdEntry, load_grid

COMMAND = [sys.executable, "-m", "poisonsieve.cli"]


@pytest.fixture
def run(grid_file, toy_rows, tmp_path):
    """`run(only=..., **changes of the file)` -> the results of the grid in the same store."""

    def call(only=None, retry_failed=False, threshold=None, **changes):
        grid = load_grid(grid_file(**changes), data_root=toy_rows)
        if threshold is not None:
            grid = grid.model_copy(update={"threshold": ThresholdEntry(**threshold)})
        return run_grid(grid, "tiny", tmp_path / "out", only=only, retry_failed=retry_failed)

    return call


def stages(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (out / "stages").rglob("run.json")}


def cells(record):
    return {(cell["attack"], cell["defense"], cell["victim"]): cell for cell in record["cells"]}


def test_each_thing_is_made_once_and_nothing_twice(run, tmp_path):
    record = run()
    found = cells(record)
    assert [cell["status"] for cell in record["cells"]] == ["done"] * 6
    assert Counter(path.parts[-3] for path in stages(tmp_path / "out")) == {
        "theta_p": 2,  # un-poisoned, and BadNet's
        "victim": 4,
        "guard": 1,  # one PSIM for both victims
        "confidences": 1,
        "answers": 4,  # PSIM's cells take those of the undefended victim
        "scores": 2,
    }
    none, psim = found["BadNet", "none", "lora"]["metrics"], found["BadNet", "psim", "lora"]["metrics"]
    assert none["n_clean"] == 120
    assert none["n_triggered"] == 60
    assert psim["threshold"]["rule"] == "frr"
    assert psim["asr"] <= none["asr"]
    assert 0 <= psim["auroc"] <= 1
    assert found["normal", "none", "full"]["metrics"]["floor"].keys() == {"BadNet"}
    before, written = stages(tmp_path / "out"), (tmp_path / "out/grids/tiny/results.json").stat().st_mtime_ns
    assert run() == record
    assert stages(tmp_path / "out") == before
    assert (tmp_path / "out/grids/tiny/results.json").stat().st_mtime_ns == written
    alone = [json.loads(path.read_text()) for path in (tmp_path / "out/grids/tiny/cells").iterdir()]
    assert sorted(map(json.dumps, alone)) == sorted(map(json.dumps, record["cells"]))
