"""Each program in examples/ runs as its docstring says, in a process of its own, on tiny models and with no network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: object, fails: bool = False) -> str:
    """What the program prints: its stdout, or with `fails` its stderr."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=240)
    assert done.returncode == (2 if fails else 0), done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def guard_folder(tiny, toy_train, toy_dev, tmp_path_factory):
    from poisonsieve import PSIM, Guard

    folder = tmp_path_factory.mktemp("guard") / "guard"
    Guard(PSIM(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev).save_pretrained(folder)
    return folder


def test_every_example_is_run_here_and_says_how_to_run_it():
    files = sorted(EXAMPLES.glob("*.py"))
    assert [file.name for file in files] == [
        "fit_and_screen.py",
        "own_trigger.py",
        "pipeline_task.py",
        "service_client.py",  # run in tests/serve/test_client.py, where there is a service
        "trainer.py",
    ]
    for file in files:
        source = file.read_text(encoding="utf-8")
        assert f"python examples/{file.name}" in source, file
        assert len(source.splitlines()) < 60, file


def test_fit_and_screen(tiny, toy_train, write_jsonl, tmp_path):
    data = write_jsonl("clean.jsonl", toy_train)
    out = run(
        "fit_and_screen.py", tiny("encoder"), data, "a good film", "a bad film", "--frr", 0.1, "--out", tmp_path / "g"
    )
    first, *verdicts = out.splitlines()
    assert re.match(r"gamma \d+\.", first) and "32 held-out clean rows" in first
    assert [line.split()[0] in ("passed", "poisoned") for line in verdicts] == [True, True]
    assert (tmp_path / "g" / "guard.json").is_file() and (tmp_path / "g" / "victim").is_dir()


def test_fit_and_screen_says_in_one_line_what_is_wrong(tiny, toy_train, write_jsonl):
    error = run("fit_and_screen.py", tiny("encoder"), write_jsonl("few.jsonl", toy_train), "a film", fails=True)
    assert "at least 299 held-out clean rows and there are 32" in error and "Traceback" not in error


def test_pipeline_task(tiny, guard_folder):
    lines = run("pipeline_task.py", tiny("encoder"), guard_folder, "a good film", "a bad film").splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "  passed  " in line or line.startswith("REJECTED     0.000  rejected")


def test_trainer(tiny, toy_train, write_jsonl, tmp_path):
    data = write_jsonl("clean.jsonl", toy_train)
    out = run("trainer.py", tiny("encoder"), data, "--out", tmp_path, "--frr", 0.1, "--epochs", 1)
    assert sum(line.startswith(("passed", "poisoned")) for line in out.splitlines()) == 3
    assert (tmp_path / "victim" / "adapter_config.json").is_file() and (tmp_path / "guard" / "guard.json").is_file()


def test_own_trigger():
    first, report, *rows = run("own_trigger.py").splitlines()
    assert first.endswith("?!") or "?! " in first
    assert "poisoned=2" in report and "relabelled=0" in report
    triggered = [row for row in rows if row.startswith("*")]
    assert len(rows) == 5 and len(triggered) == 2
    assert all(row.split()[1] == "0" and "!!" in row for row in triggered)
