"""The whole GPU kit with the processor in the card's place: packed, carried, stopped, gone on with, and made a page of."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import make_encoder, write_grid, write_toy_rows

KIT = Path(__file__).parents[2] / "benchmarks" / "gpu"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def kit(*arguments):
    done = subprocess.run([sys.executable, str(KIT), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Toy rows, a grid of six cells on a tiny model, what this machine has, and the kit packed for it in `kit`."""
    folder = tmp_path_factory.mktemp("gpu")
    write_toy_rows(folder)
    write_grid(folder, make_encoder(folder / "model", head=False))
    (folder / "target.json").write_text(kit("probe"))
    pack(folder, folder / "kit", folder / "target.json")
    return folder


def pack(folder, out, target):
    return kit(
        "pack",
        "--assume",
        target,
        "--config",
        folder / "grid.yaml",
        "--data-root",
        folder,
        "--out",
        out,
        "--part-mib",
        2,
    )


def call(parts, work, *arguments):
    """What a call on the target is: another folder, and no package of this checkout on the path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    start = sorted(parts.glob("part-*"))[0] / "start.py"
    return subprocess.run(
        [sys.executable, str(start), "--work", str(work), "--device", "cpu", "--tiny", *map(str, arguments)],
        capture_output=True, text=True, env=environment, cwd=parts,
    )  # fmt: skip


def records(folder, kind):
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def stages(folder):
    return [(record["stage"], record["status"]) for record in records(folder, "stage")]


def test_the_kit_is_refused_when_a_part_was_altered_and_waits_when_one_has_not_come(world, tmp_path):
    altered = shutil.copytree(world / "kit", tmp_path / "altered")
    piece = next((altered / "part-01/pieces").iterdir())
    piece.write_bytes(piece.read_bytes() + b"more")
    done = call(altered, tmp_path / "work")
    assert done.returncode != 0 and "altered since it was packed" in done.stderr
    one = tmp_path / "one"
    shutil.copytree(world / "kit/part-02", one / "part-02")
    done = call(one, tmp_path / "work")
    assert done.returncode == 0 and "these parts have to come too: 1" in done.stdout
    assert not (tmp_path / "work/results").exists()


def test_the_kit_is_refused_where_torch_is_another_one(world, tmp_path):
    target = json.loads((world / "target.json").read_text())
    target["packages"]["torch"] = "2.6.1"
    (tmp_path / "target.json").write_text(json.dumps(target))
    pack(world, tmp_path / "kit", tmp_path / "target.json")
    done = call(tmp_path / "kit", tmp_path / "work")
    assert done.returncode != 0 and "packed for torch 2.6.1" in done.stderr


def test_the_whole_of_it(world, tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    parts = sorted((world / "kit").iterdir())
    assert len(parts) > 1
    assert all(sum(file.stat().st_size for file in part.rglob("*") if file.is_file()) <= 2 * 2**20 for part in parts)

    # Too little time for the check: it is not begun, or it is stopped, and nothing behind it is begun.
    began = time.monotonic()
    done = call(world / "kit", work, "--seconds", 29, "--payloads", "roofline", "--out", out)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 29
    (check, roofline) = stages(out)
    assert check in (("check", "stopped"), ("check", "no time")) and roofline == ("roofline", "no time")

    # Cut short in the grid: what goes before it is not done again, what comes behind it is done.
    done = call(world / "kit", work, "--payloads", "roofline,grid,speed", "--grid-seconds", 3, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    later = dict(stages(out)[2:])
    assert later.pop("grid") == "stopped"
    assert set(later.values()) == {"done"} and {"check", "roofline", "share"} < set(later)
    assert sum(name.startswith("speed ") for name in later) == 7

    # Gone on with: the grid alone is left.
    count = len(stages(out))
    done = call(world / "kit", work, "--payloads", "roofline,grid,speed", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stages(out)[count:] == [("grid", "done")]

    # On a machine that is bare again, with what came back: nothing is left.
    done = call(world / "kit", tmp_path / "bare", "--payloads", "grid", "--earlier", out, "--out", tmp_path / "again")
    assert done.returncode == 0, done.stdout + done.stderr
    assert records(tmp_path / "again", "group") == records(out, "group")

    assert all(record["holds"] for record in records(out, "check")) and len(records(out, "check")) == 6
    assert {record["count"] for record in records(out, "share") if record["how"] == "processes"} == {1, 2}
    assert len(list(out.iterdir())) <= 8
    assert kit("collect", tmp_path / "again", "--out", tmp_path / "cells").strip().endswith("6 of 6 cells done")
    table = subprocess.run(
        [sys.executable, "-m", "poisonsieve.cli", "bench", "table", str(tmp_path / "cells/grids/grid"), "--csv"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert len(table.strip().splitlines()) == 7
    kit("report", out, "--out", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "A dry run" in page and page.count("| llama-7b |") == 6 and "cells a minute" in page
