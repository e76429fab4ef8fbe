"""Where results cannot go: full disks, files in the way, inputs, and results that are already there."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["commands"]


@contextlib.contextmanager
def small_disk(size):
    """No file can grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def training(tiny, train_file):
    """`training(command, out)` -> arguments of a short training."""

    def arguments(command, out):
        more = {"poison": ["--count", 5], "tune": ["--method", "full"], "fit": ["--frr", 0.1]}[command]
        model = ["--model", tiny("encoder"), "--data", train_file, "--out", out]
        return [command, *model, "--epochs", 1, "--quiet", *more]

    return arguments


TRAINERS = ["poison", "tune", "fit"]


@pytest.mark.parametrize("command", TRAINERS)
@pytest.mark.parametrize("size", [600, 40_000])
def test_a_full_disk(command, size, training, refused, cli, tmp_path):
    out = tmp_path / "out"
    call = training(command, out)
    with small_disk(size):
        refused(*call, says="cannot write")
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if "writing" in path.name]
    assert cli(*call)[0] == 0, "with room again the same command ends well"
    assert (out / "run.json").is_file()


@pytest.mark.parametrize("command", TRAINERS)
def test_something_else_is_in_the_way(command, training, refused, cli, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    refused(*training(command, out), says=("already exists", "--force"))
    assert (out / "notes.txt").read_text() == "mine"
    assert cli(*training(command, out), "--force")[0] == 0
    assert not (out / "notes.txt").exists()
    (tmp_path / "file").write_text("mine")
    refused(*training(command, tmp_path / "file"), says="already exists")
    refused(*training(command, tmp_path / "file" / "out"), says=("cannot write", "choose another --out"))
    refused(*training(command, tmp_path / ("x" * 300)), says="name too long")
    refused(*training(command, "/proc/none/out"), says="cannot write")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", TRAINERS)
def test_the_folder_one_works_in(command, training, refused, tmp_path, monkeypatch):
    work = tmp_path / "above" / "work"
    work.mkdir(parents=True)
    (work / "notes.txt").touch()
    monkeypatch.chdir(work)
    for place in (".", "", ".."):
        refused(*training(command, place), "--force", says="never replaced")
    refused(*training(command, "/"), "--force", says="choose another --out")
    assert [path.name for path in work.iterdir()] == ["notes.txt"]


def test_an_input_is_never_replaced(refused, tiny, train_file, tmp_path):
    runs = tmp_path / "runs"
    model = shutil.copytree(tiny("encoder"), runs / "model")
    before = sorted(model.iterdir())
    for out in (model, runs):
        for command, more in {"tune": [], "poison": ["--count", 3], "fit": ["--frr", 0.1]}.items():
            call = [command, "--model", model, "--data", train_file, "--out", out, "--force", "--quiet", *more]
            refused(*call, says=("would replace", "choose another --out"))
    refused("tune", "--model", model, "--data", train_file, "--out", train_file, "--force", says="would replace")
    assert sorted(model.iterdir()) == before
    assert train_file.stat().st_size


def test_where_verdicts_cannot_go(refused, cli, guard_folder, test_file, tmp_path):
    screen = ["screen", guard_folder, test_file, "--quiet", "--out"]
    before = test_file.read_bytes()
    refused(*screen, test_file, says="would replace")
    (tmp_path / "link").symlink_to(test_file)
    refused(*screen, tmp_path / "link", says="would replace")
    refused(*screen, tmp_path, says="is a folder")
    refused(*screen, test_file / "x", says="cannot write")
    refused(*screen, "/dev/full", says=("/dev/full", "No space left"))
    out = tmp_path / "verdicts.jsonl"
    out.write_text("old\n")
    with small_disk(1000):
        refused(*screen, out, says=("verdicts.jsonl", "cannot write"))
    assert out.read_text() == "old\n"
    assert test_file.read_bytes() == before
    assert cli(*screen, out)[0] == 0
    assert len(out.read_text().splitlines()) == 30
    assert cli(*screen, "/dev/null")[0] == 0


def test_where_scores_cannot_go(refused, cli, guard_folder, tiny, test_file, tmp_path):
    call = ["evaluate", guard_folder, "--victim", tiny("encoder"), "--clean", test_file, "--trigger", "badnet"]
    call = [*call, "--quiet", "--scores"]
    refused(*call, tmp_path, says="is a folder")
    refused(*call, test_file, says="would replace")
    refused(*call, test_file / "x.parquet", says="cannot write")
    with small_disk(1000):
        refused(*call, tmp_path / "full.parquet", says=("full.parquet", "cannot write"))
    assert not list(tmp_path.glob("*full.parquet*"))
    code, out, _ = cli(*call, tmp_path / "scores.parquet", "--json")
    assert code == 0

    import pandas as pd

    table = pd.read_parquet(tmp_path / "scores.parquet")
    assert len(table) == json.loads(out)["n_clean"] + json.loads(out)["n_triggered"]
    assert set(table["set"]) == {"clean", "triggered"}


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_stdout_on_a_full_disk(more, guard_folder, test_file):
    program = "import sys; from poisonsieve.cli.main import run; run()"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, "list", *more],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    assert done.returncode == 2
    assert done.stderr == "error: cannot write to stdout: No space left on device\n"


def test_saving_a_guard_deletes_nothing_else(guard_folder, tmp_path):
    from poisonsieve import Guard, GuardedClassifier
    from poisonsieve.errors import ConfigError

    guard = Guard.from_pretrained(guard_folder)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("mine")
    for save in (guard.save_pretrained, GuardedClassifier(guard).save_pretrained):
        with pytest.raises(ConfigError, match="already exists"):
            save(tmp_path / "work")
        save(tmp_path / "guard", overwrite=True)
    assert (tmp_path / "work" / "notes.txt").read_text() == "mine"
