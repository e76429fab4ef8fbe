"""Commands of the README and of Getting started work as they are printed, with tiny models in the folders they name."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

import poisonsieve
from conftest import dataset, sentences

ROOT = Path(__file__).parents[1]
README, STARTED = ROOT / "README.md", ROOT / "docs/guide/getting-started.md"


def blocks(page, language=""):
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def block_with(page, text, language=""):
    (found,) = [block for block in blocks(page, language) if text in block]
    return found


def commands(page):
    """The lines that begin with `poisonsieve`, without comments."""
    return [line for block in blocks(page) for line in block.splitlines() if line.startswith("poisonsieve ")]


@pytest.mark.parametrize("line", [*commands(README), *commands(STARTED)])
def test_every_command_has_options_that_exist(line):
    """Parsed by the commands themselves, down to the last option; nothing is run."""
    from poisonsieve.cli.main import app

    command = typer.main.get_command(app)
    name, arguments = "poisonsieve", shlex.split(re.sub(r"\s#.*", "", line))[1:]
    context = click.Context(command, info_name=name)
    while hasattr(command, "get_command"):
        name, command, arguments = command.resolve_command(context, arguments)
        context = click.Context(command, info_name=name, parent=context)
    command.make_context(name, arguments, parent=context.parent)


@pytest.fixture
def place(tiny, write_jsonl, tmp_path):
    """A folder with what the pages name, and `poisonsieve` on the path."""
    for name in ("checkpoint", "downloaded-checkpoint", "my-tuned-model"):
        shutil.copytree(tiny("encoder"), tmp_path / name)
    for seed, (name, rows) in enumerate({"clean": 600, "train": 160, "dev": 140, "inbox": 30, "test": 40}.items()):
        shutil.move(write_jsonl(f"{name}.jsonl", dataset(sentences(rows, seed=seed))), tmp_path / f"{name}.jsonl")
    script = tmp_path / "bin/poisonsieve"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom poisonsieve.cli.main import run\nrun()\n")
    script.chmod(0o755)
    return tmp_path


def run(place, command, *, codes=(0,)):
    source = Path(poisonsieve.__file__).parents[1]
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(source),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode in codes, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_readme_guards_a_classifier(place):
    block = block_with(README, "poisonsieve fit --model downloaded-checkpoint/")
    lines = [line for line in block.splitlines() if not line.startswith("pip install")]
    run(place, ["bash", "-e", "-c", "\n".join(lines)], codes=(0, 1))  # 1: --exit-code, and something was rejected
    assert len((place / "verdicts.jsonl").read_text().splitlines()) == 30
    shutil.rmtree(place / "guard")
    out = run(place, [sys.executable, "-c", block_with(README, "guard.save_pretrained", "python")])
    assert [line.split()[0] in ("passed", "poisoned") for line in out.splitlines()] == [True, True]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_getting_started_from_the_command_line_and_from_python(place):
    run(place, ["bash", "-e", "-c", block_with(STARTED, "# 1. Fit the guard")])
    assert len((place / "verdicts.jsonl").read_text().splitlines()) == 30
    shutil.rmtree(place / "guard")
    out = run(place, [sys.executable, "-c", "\n".join(blocks(STARTED, "python"))])
    assert len(out.splitlines()) == 4  # gamma, two verdicts, the rates
