"""The GPU kit's parts, wheels, grid files, clock and pages; the dry run of all of it is among the slow tests."""

import importlib.metadata
import json
import lzma
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from gpu import clock, grid, gridfile, parts
from gpu.collect import collect
from gpu.parts import KitError
from gpu.place import Place
from gpu.probe import probe
from gpu.report import write_report
from gpu.wheels import Target, compare, download

KIB = 2**10
ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path):
    """One file that fills two parts and more, an empty one, and a small one, in random bytes."""
    found = []
    for name, size in (("weights/big", 2500 * KIB), ("source/empty", 0), ("source/small", 10 * KIB)):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        found.append((name, path))
    return found


def packed(files, out, **facts):
    return parts.write_parts(files, {"models": {}, **facts}, out, largest=2 * parts.MEBIBYTE)


def folders(out):
    return sorted(out.glob("part-*"))


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_no_part_is_larger_than_was_asked_for_and_files_come_out_as_they_went_in(files, tmp_path):
    packed(files, tmp_path / "kit")
    assert len(folders(tmp_path / "kit")) == 3
    assert all(size_of(part) <= 2 * parts.MEBIBYTE for part in folders(tmp_path / "kit"))
    for part in reversed(folders(tmp_path / "kit")):  # in any order
        parts.take(part, tmp_path / "work")
    for name, path in files:
        assert (tmp_path / "work" / "files" / name).read_bytes() == path.read_bytes()


def test_a_file_is_missing_until_its_last_piece_has_come(files, tmp_path):
    manifest = packed(files, tmp_path / "kit")
    first, second, third = folders(tmp_path / "kit")
    parts.take(third, tmp_path / "work")
    assert (tmp_path / "work/files/source/small").is_file()
    assert parts.missing(manifest, tmp_path / "work", "weights/") == [1, 2]
    parts.take(first, tmp_path / "work")
    assert parts.missing(manifest, tmp_path / "work") == [2]
    parts.take(second, tmp_path / "work")
    assert parts.missing(manifest, tmp_path / "work") == []
    parts.take(first, tmp_path / "work")  # once more: nothing is to do
    assert not list((tmp_path / "work/pieces").iterdir())


def test_a_piece_that_was_altered_is_refused(files, tmp_path):
    packed(files, tmp_path / "kit")
    first = folders(tmp_path / "kit")[0]
    (piece,) = (first / "pieces").iterdir()
    content = bytearray(piece.read_bytes())
    content[1000] ^= 1
    piece.write_bytes(content)
    with pytest.raises(KitError, match="altered"):
        parts.take(first, tmp_path / "work")
    assert not (tmp_path / "work/files").exists()


@pytest.mark.parametrize("change", [{"parts": 7}, {"target": "another"}])
def test_a_manifest_that_was_altered_is_refused(files, tmp_path, change):
    packed(files, tmp_path / "kit", target="this")
    file = folders(tmp_path / "kit")[0] / parts.MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(KitError, match="altered"):
        parts.take(file.parent, tmp_path / "work")


def test_parts_of_two_kits_are_not_mixed(files, tmp_path):
    packed(files, tmp_path / "one")
    packed(files, tmp_path / "other", made="later")
    parts.take(folders(tmp_path / "one")[0], tmp_path / "work")
    with pytest.raises(KitError, match="another one"):
        parts.take(folders(tmp_path / "other")[1], tmp_path / "work")


def test_a_part_with_a_piece_missing_is_refused(files, tmp_path):
    packed(files, tmp_path / "kit")
    third = folders(tmp_path / "kit")[2]
    next((third / "pieces").iterdir()).unlink()
    with pytest.raises(KitError, match="lacks pieces"):
        parts.take(third, tmp_path / "work")


def machine(**changes):
    facts = {
        "python": [3, 12, 3],
        "implementation": "cpython",
        "system": "Linux",
        "machine": "x86_64",
        "glibc": [2, 35],
        "packages": {"torch": "2.11.0", "pip": "26.0"},
    }
    return {**facts, **changes}


def test_the_probe_of_this_machine_describes_a_target_that_lacks_nothing():
    lacking, differing = compare(ROOT, [], Target(json.loads(json.dumps(probe()))), [])
    assert (lacking, differing) == ([], [])


def test_what_a_target_lacks_is_carried_and_what_it_has_in_another_version_is_reported():
    there = {**probe()["packages"], "torch": "1.0", "transformers": "5.0.0"}
    del there["peft"], there["pydantic"], there["typing-inspection"]
    lacking, differing = compare(ROOT, [], Target(machine(packages=there)), [])
    names = ("peft", "pydantic", "typing-inspection")  # the last one is needed by pydantic alone
    assert lacking == [f"{name}=={importlib.metadata.version(name)}" for name in names]
    said = [line.split(" is there")[0] for line in differing]
    assert "torch 1.0" in said and "transformers 5.0.0" in said


def test_a_package_is_replaced_only_by_name_and_torch_never():
    there = {**probe()["packages"], "torch": "1.0", "transformers": "5.0.0"}
    lacking, _ = compare(ROOT, [], Target(machine(packages=there)), ["transformers", "torch"])
    assert lacking == [f"transformers=={importlib.metadata.version('transformers')}"]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"packages": {"pip": "26.0"}}, "no torch"),
        ({"packages": {"torch": "2.11.0"}}, "no pip"),
        ({"system": "Windows"}, "CPython on Linux"),
        ({"glibc": None}, "glibc"),
        ({"python": []}, "not what probe.py prints"),
    ],
)
def test_a_target_that_the_kit_cannot_serve_is_refused(facts, says):
    with pytest.raises(KitError, match=says):
        Target(machine(**facts))


@pytest.mark.parametrize(
    ("wheel", "fits"),
    [
        ("dill-0.4.1-py3-none-any.whl", True),
        ("thing-1.0-cp312-cp312-manylinux2014_x86_64.whl", True),
        ("thing-1.0-cp310-abi3-manylinux_2_28_x86_64.whl", True),
        ("thing-1.0-cp311-cp311-manylinux2014_x86_64.whl", False),
        ("thing-1.0-cp312-cp312-manylinux_2_39_x86_64.whl", False),  # a newer glibc
        ("thing-1.0-cp312-cp312-manylinux2014_aarch64.whl", False),
        ("thing-1.0-cp312-cp312-win_amd64.whl", False),
        ("no-wheel.zip.whl", False),
    ],
)
def test_wheels_that_do_not_fit_the_targets_python_are_refused(tmp_path, wheel, fits):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / wheel).write_bytes(b"content")
    if fits:
        assert download([], Target(machine()), tmp_path / "out", tmp_path / "own") == [tmp_path / "out" / wheel]
    else:
        with pytest.raises(KitError, match=wheel):
            download([], Target(machine()), tmp_path / "out", tmp_path / "own")


def test_another_python_or_torch_than_the_kit_was_packed_for_is_refused():
    here = {"python": list(sys.version_info[:3]), "torch": importlib.metadata.version("torch")}
    parts.require_fit({"target": here})
    with pytest.raises(KitError, match=r"packed for Python 3\.9"):
        parts.require_fit({"target": {**here, "python": [3, 9, 1]}})
    with pytest.raises(KitError, match=r"packed for torch 1\.2"):
        parts.require_fit({"target": {**here, "torch": "1.2"}})


def grid_file(folder, **changes):
    rows = {split: f"{{data}}/sst2/{split}.jsonl" for split in ("train", "dev", "test")}
    content = {
        "title": "two",
        "datasets": {
            "sst2": {"setting": "full_data", "data": rows},
            "topics": {"setting": "full_data", "data": {"train": "packaged:topics", "test": "packaged:topics#test"}},
        },
        "models": {"MiniLM": {"model": "minilm"}, "Own": {"model": "/models/own"}},
        "attacks": {"BadNet": {"trigger": "badnet", "count": 30}, "normal": {"clean": True, "defenses": ["none"]}},
        "defenses": {"none": {"defense": "none"}, "onion": {"defense": "onion:lm=smollm2,max_length=64"}},
        "victims": {"full": {"method": "full"}},
        "seeds": [0, 1],
        "scale": {"small": {"models": {"Own": None}}, "all": {}},
        **changes,
    }
    file = folder / "two.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_a_grid_travels_with_the_kits_own_names(tmp_path):
    found = gridfile.travelling(grid_file(tmp_path), "all", [])
    assert found.models == {"minilm": "minilm", "models_own": "/models/own", "smollm2": "smollm2"}
    assert found.data == ["sst2/dev.jsonl", "sst2/test.jsonl", "sst2/train.jsonl"]
    assert len(found.slices) == 4
    cut = found.slices["two-all--sst2--Own"]
    assert cut["datasets"]["sst2"]["data"]["train"] == "{data}/sst2/train.parquet"
    assert cut["models"] == {"Own": {"model": "{data}/../weights/models_own"}}
    assert cut["defenses"]["onion"]["defense"] == "onion:lm={data}/../weights/smollm2,max_length=64"


def test_groups_are_those_of_the_scale_and_the_first_seed_comes_first(tmp_path):
    small = gridfile.travelling(grid_file(tmp_path), "small", [])
    written = {name: tmp_path / f"{name}.yaml" for name in small.slices}
    for name, file in written.items():
        file.write_text(yaml.safe_dump(small.slices[name]))
    found = gridfile.groups(written, tmp_path)
    assert [group["only"]["seed"] for group in found] == ["0"] * 4 + ["1"] * 4
    assert {(group["only"]["dataset"], group["only"]["attack"], group["cells"]) for group in found} == {
        (dataset, *attack) for dataset in ("sst2", "topics") for attack in (("BadNet", 2), ("normal", 1))
    }
    assert all(group["weights"] == ["minilm", "smollm2"] for group in found)


def test_folders_below_the_data_root_cannot_travel(tmp_path):
    rows = {"data": {"train": "{data}/sst2"}, "setting": "full_data"}
    with pytest.raises(KitError, match="name their files"):
        gridfile.travelling(grid_file(tmp_path, datasets={"sst2": rows}), "all", [])


def python(code):
    return [sys.executable, "-c", code]


def test_a_process_is_ended_when_the_time_is_up_and_killed_when_it_does_not_listen(tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "GRACE", 1.0)
    monkeypatch.setattr(clock, "RESERVE", 0.0)
    listens = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: (print('put away'), sys.exit()))\ntime.sleep(60)"
    )
    deaf = "import signal, time\nsignal.signal(15, lambda *_: print('no', flush=True))\ntime.sleep(60)"
    for code, said in ((listens, "put away"), (deaf, "no")):
        log = tmp_path / said
        began = time.monotonic()
        process = clock.start(python(code), dict(os.environ), log)
        assert not clock.wait(process, clock.Clock(time.time(), 3.0))
        assert time.monotonic() - began < 10
        assert process.poll() is not None
        assert log.read_text().strip() == said


def test_a_process_that_ends_in_time_is_waited_for(tmp_path):
    process = clock.start(python("pass"), dict(os.environ), tmp_path / "log")
    assert clock.wait(process, clock.Clock(time.time(), None))
    assert process.returncode == 0


def test_a_process_does_not_outlive_the_one_that_waits_for_it(tmp_path):
    class Broken(clock.Clock):
        @property
        def left(self):
            raise KeyboardInterrupt

    process = clock.start(python("import time; time.sleep(60)"), dict(os.environ), tmp_path / "log")
    with pytest.raises(KeyboardInterrupt):
        clock.wait(process, Broken(0.0, None))
    assert process.poll() is not None


def through(place, group, output):
    """What `bench run --json` would have printed for a group is in its file: have it noted."""
    file = place.work / "groups" / "group.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(output)
    grid._note(place, grid._Running(group, SimpleNamespace(returncode=0), file))
    return place.records("group")[-1]["status"]


def test_a_group_is_through_when_none_of_its_own_cells_waits(tmp_path):
    place = Place(tmp_path)
    group = {"file": "core--a--m", "only": {"dataset": "toy", "attack": "attack-0"}, "cells": 1}
    others = ("waiting", "failed")  # of other groups, which other processes are at work on
    assert through(place, group, json.dumps({"cells": cells("done", *others)})) == "done"
    assert through(place, group, json.dumps({"cells": cells("failed", *others)})) == "cells failed"
    assert through(place, group, json.dumps({"cells": cells("waiting", *others)})) == "failed"
    assert through(place, group, "Traceback: out of memory") == "failed"


def test_what_a_group_gave_counts_before_a_results_file_that_knows_less(tmp_path):
    place = Place(tmp_path)
    results = place.store / "grids" / "core--a--m" / "results.json"
    results.parent.mkdir(parents=True)
    results.write_text(json.dumps({"title": "t", "grid": {}, "cells": cells("waiting", "done")}))
    group = {"file": "core--a--m", "only": {"attack": "attack-0"}, "cells": 1}
    through(place, group, json.dumps({"cells": cells("done", "waiting")}))
    assert grid.bring_together(place) == 2
    assert grid.bring_together(Place(tmp_path)) == 2  # what was brought together is read again


def cells(*statuses):
    return [
        {"dataset": "toy", "attack": f"attack-{index}", "psim": None, "status": status, "metrics": {"ca": 0.9}}
        for index, status in enumerate(statuses)
    ]


def brought_back(folder, file, *statuses):
    folder.mkdir(exist_ok=True)
    head = {"title": "t", "grid": {"title": "t", "datasets": {file: {}}, "models": {"m": {}}}}
    lines = [{"file": file, "head": head}, *({"file": file, "cell": cell} for cell in cells(*statuses))]
    with lzma.open(folder / "cells.jsonl.xz", "wt") as stream:
        stream.write("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_cells_of_several_calls_become_one_results_file_in_which_what_is_done_wins(tmp_path):
    first = brought_back(tmp_path / "first", "core--a--m", "done", "failed", "waiting")
    second = brought_back(tmp_path / "second", "core--a--m", "waiting", "done", "failed")
    said = collect([first, second], tmp_path / "out")
    content = json.loads((tmp_path / "out/grids/core/results.json").read_text())
    assert [cell["status"] for cell in content["cells"]] == ["done", "done", "failed"]
    assert said.endswith("2 of 3 cells done")


def written(folder, *records):
    folder.mkdir()
    lines = [json.dumps({"at": "2026-11-27T00:00:00Z", "tiny": False, **record}) for record in records]
    (folder / "records.jsonl").write_text("\n".join(lines) + '\n{"kind": "cut o')
    return folder


def matrix(device, teraflops):
    return {
        "kind": "roofline",
        "what": "matrix",
        "precision": "bf16",
        "size": 8192,
        "teraflops": teraflops,
        "device": device,
    }


def test_the_page_has_what_was_measured_last(tmp_path):
    timing = {"kind": "speed", "model": "bert-large", "what": "full", "bits": 32, "precision": "bf16", "tokens": 128}
    timing |= {"rows_a_second": 1234.5, "teraflops": 321.0, "share": 0.4125, "memory_gib": 17.25}
    first = written(tmp_path / "first", matrix("card", 700.0), timing)
    second = written(tmp_path / "second", matrix("card", 790.0))
    write_report([first, second], tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| 790 TFLOP/s |" in page and "700" not in page
    assert "| bert-large | full | bf16 | 128 | 1.23e+03 | 321 | 41% | 17.2 |" in page
    assert "dry run" not in page


def test_the_page_counts_what_was_finished_of_a_stopped_group(tmp_path):
    end = {"kind": "grid", "what": "end", "minutes": 2.0, "processes": 3}
    first, second = (written(tmp_path / name, matrix("card", 700.0), end) for name in ("first", "second"))
    brought_back(first, "core--a--m", "done", "waiting", "failed")
    brought_back(second, "core--a--m", "done", "done", "failed")
    write_report([first, second], tmp_path / "page.md")
    said = "2 cells, with 0 groups of them whole, in 4.0 minutes by 3 processes: 0.5 cells a minute."
    assert said in (tmp_path / "page.md").read_text()


def test_figures_of_two_devices_are_not_mixed_and_a_dry_run_says_that_it_is_one(tmp_path):
    first = written(tmp_path / "first", matrix("card", 700.0))
    second = written(tmp_path / "second", matrix("cpu", 0.1) | {"tiny": True})
    with pytest.raises(KitError, match="card, cpu"):
        write_report([first, second], tmp_path / "page.md")
    write_report([second], tmp_path / "page.md")
    assert "dry run" in (tmp_path / "page.md").read_text()


def test_the_command_refuses_in_one_line(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "benchmarks/gpu"),
        "report",
        str(tmp_path),
        "--out",
        str(tmp_path / "page.md"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
