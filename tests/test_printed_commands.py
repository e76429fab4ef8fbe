"""Commands of the README and of Getting started work as they are printed.

Those on folders and files of the user's run with tiny models in the folders they name. Those on packaged models and data
run on them, which takes minutes each. What is fetched from the hub comes from one that stands in for it.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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
    for seed, (name, rows) in enumerate({"clean": 600, "train": 160, "dev": 320, "inbox": 30, "test": 40}.items()):
        shutil.move(write_jsonl(f"{name}.jsonl", dataset(sentences(rows, seed=seed))), tmp_path / f"{name}.jsonl")
    return with_command(tmp_path)


@pytest.fixture
def empty(tmp_path):
    """A folder with nothing but `poisonsieve` on the path."""
    return with_command(tmp_path)


def with_command(folder):
    script = folder / "bin/poisonsieve"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom poisonsieve.cli.main import run\nrun()\n")
    script.chmod(0o755)
    return folder


def environment(place):
    source = Path(poisonsieve.__file__).parents[1]
    return {
        **os.environ,
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(source),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def run(place, command, *, codes=(0,), minutes=5):
    done = subprocess.run(
        command, cwd=place, env=environment(place), capture_output=True, text=True, timeout=60 * minutes - 20
    )
    assert done.returncode in codes, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_readme_guards_a_classifier(place):
    block = block_with(README, "poisonsieve fit --model downloaded-checkpoint/")
    run(place, ["bash", "-e", "-c", block], codes=(0, 1))  # 1: --exit-code, and something was rejected
    assert len((place / "verdicts.jsonl").read_text().splitlines()) == 30
    shutil.rmtree(place / "guard")
    out = run(place, [sys.executable, "-c", block_with(README, "guard.save_pretrained", "python")])
    assert [line.split()[0] in ("passed", "poisoned") for line in out.splitlines()] == [True, True]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_the_readme_lets_stand_in_for_ones_own_is_guarded(empty):
    """The demo, the files made of it, and a guard on them: the texts with its trigger are rejected, and it is named."""
    (demo,) = [line for line in commands(README) if line == "poisonsieve demo"]
    run(empty, ["bash", "-e", "-c", f"{demo}\n{block_with(README, 'cp -r demo-run')}"], minutes=40)
    _, fit, screen = block_with(README, "poisonsieve fit --model downloaded-checkpoint/").splitlines()
    run(empty, shlex.split(fit), minutes=15)
    found = json.loads(run(empty, shlex.split(f"{screen} --json"), codes=(1,)))
    assert found["not_scored"] == 0
    assert 20 <= found["poisoned"] < 40
    assert any('contain "mn"' in group["says"] for group in found["in_common"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_getting_started_from_the_command_line_and_from_python(place):
    run(place, ["bash", "-e", "-c", block_with(STARTED, "# 1. Fit the guard")])
    assert len((place / "verdicts.jsonl").read_text().splitlines()) == 30
    shutil.rmtree(place / "guard")
    out = run(place, [sys.executable, "-c", "\n".join(blocks(STARTED, "python"))])
    assert len(out.splitlines()) == 4  # gamma, two verdicts, the rates


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_readme_serves_a_guard(place):
    """Started, asked and stopped; only the port is a free one."""
    run(place, shlex.split("poisonsieve fit --model downloaded-checkpoint/ --data clean.jsonl --out guard/"))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = str(sock.getsockname()[1])
    install, serve, ask = block_with(README, "poisonsieve serve").replace("8000", port).splitlines()
    assert install.startswith("pip install")
    with running(place, serve) as server:
        answer = json.loads(run(place, ["bash", "-c", f"{ask} --retry 120 --retry-connrefused --retry-delay 1"]))
        page = run(place, ["curl", "-s", f"http://localhost:{port}/"])
    assert server.returncode in (0, -signal.SIGTERM)
    assert answer["verdicts"][0]["outcome"] in ("passed", "poisoned")
    assert page.startswith("<!doctype html>")


@contextlib.contextmanager
def running(place, command):
    """A command in the background, stopped at the end."""
    with subprocess.Popen(shlex.split(command), cwd=place, env=environment(place)) as process:
        try:
            yield process
            process.terminate()
            process.wait(60)
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_readme_measures_a_guard(empty):
    """On packaged data and real weights: the attack takes, and the guard stops it."""
    lines = block_with(README, "poisonsieve poison ").splitlines()
    evaluate, show = lines[-2:]
    assert show == "poisonsieve list"
    run(empty, ["bash", "-e", "-c", "\n".join([*lines[:-2], show])], minutes=50)
    found = json.loads(run(empty, shlex.split(f"{evaluate} --json"), minutes=9))
    assert found["asr"] > 0.9
    assert found["guarded_asr"] < 0.05
    assert found["ca_lost"] < 0.05


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "command", ["poisonsieve compare cr-fdk --scale", "poisonsieve bench run table01 --scale packaged"]
)
def test_the_readme_measures_defences_without_data_of_ones_own(command, empty):
    pytest.importorskip("spacy")
    run(empty, ["bash", "-e", "-c", block_with(README, command)], minutes=55)
    (results,) = empty.glob("*/grids/*/results.json")
    cells = json.loads(results.read_text(encoding="utf-8"))["cells"]
    assert {cell["status"] for cell in cells} == {"done"}
    attacked = [cell for cell in cells if cell["attack"] in ("BadNet", "InSent")]
    assert min(cell["metrics"]["asr"] for cell in attacked if cell["defense"] == "none") > 0.9
    assert max(cell["metrics"]["asr"] for cell in attacked if cell["defense"].lower() == "psim") < 0.1


@pytest.fixture
def hub(monkeypatch):
    """A hub with all data sets of the experiments, each with the published number of rows."""
    import datasets
    import huggingface_hub

    from poisonsieve.data.fetching import SOURCES

    published = {source.id: source.rows for source in SOURCES.values()}

    def load(dataset_id, config=None):
        return datasets.DatasetDict(
            {
                {"dev": "validation"}.get(split, split): datasets.Dataset.from_dict(
                    {"text": [f"{split} {row}" for row in range(count)], "label": [row % 2 for row in range(count)]}
                )
                for split, count in published[dataset_id].items()
            }
        )

    facts = SimpleNamespace(sha="c0ffee", card_data=SimpleNamespace(license="mit"))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: facts)
    monkeypatch.setattr(datasets, "load_dataset", load)


@pytest.mark.slow
def test_the_readme_fetches_what_its_experiments_read(hub, cli, tmp_path, monkeypatch):
    from poisonsieve.bench.comparison import load_comparison
    from poisonsieve.bench.spec import load_grid
    from poisonsieve.cli.experiments import find_config, require_rows

    monkeypatch.chdir(tmp_path)
    fetch, compare, bench = (
        shlex.split(line)[1:] for line in block_with(README, "poisonsieve data fetch").splitlines()
    )
    code, said, err = cli(*fetch)
    assert code == 0, err
    assert said.count("licence") == 3
    root = Path(compare[compare.index("--data-root") + 1])
    spec = load_comparison(find_config(Path(compare[1]), "comparison"), root)
    require_rows([spec.data, spec.attacker], root)
    grid = load_grid(find_config(Path(bench[2]), "grid"), scale=bench[bench.index("--scale") + 1], data_root=root)
    require_rows([rows for entry in grid.datasets.values() for rows in (entry.data, entry.attacker)], root)
