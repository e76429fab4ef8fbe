"""The trigger and the detector of the guide's page on plug-ins, as a package that somebody else installs.

The code is the page's own, each block a module; nothing of poisonsieve is edited for it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import poisonsieve
from conftest import make_encoder, sentences

PAGE = Path(__file__).parent.parent / "docs" / "guide" / "writing-a-plug-in.md"
NAMES = {"shout": "attack", "margin": "defense"}


def block_of(name, kind):
    """The one block of Python on the page that registers the plug-in of that name."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if f'@register("{kind}", "{name}")' in block]
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package `outside` and what an installer writes of it; with a model and rows beside it."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside").mkdir()
    (folder / "outside" / "__init__.py").touch()
    for name, kind in NAMES.items():
        (folder / "outside" / f"{name}.py").write_text(block_of(name, kind), encoding="utf-8")
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    points = "".join(f"{name} = outside.{name}\n" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[poisonsieve.plugins]\n{points}")
    make_encoder(folder / "model")
    for seed, (name, count) in enumerate({"clean": 160, "dev": 60, "test": 20}.items()):
        rows = [json.dumps({"text": text, "label": label}) for text, label in sentences(count, seed=seed + 1)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def run(folder, *args):
    """The JSON that a command prints, run where the package is installed."""
    source = Path(poisonsieve.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(source)])}
    command = [sys.executable, "-c", "from poisonsieve.cli.main import run; run()", *map(str, args), "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_an_example_is_short_and_has_one_line_of_registration(name, kind):
    code = block_of(name, kind)
    assert len(code.splitlines()) <= 60
    assert code.count("register(") == 1


def test_both_are_known_by_name(installed):
    said = run(installed, "list")
    assert (
        said["descriptions"]["attacks"]["shout"]
        == "Writes one word of the text in capitals and adds an ending to it."
    )
    assert said["descriptions"]["detectors"]["margin"].startswith("How far the largest logit stands above")


def test_the_trigger_poisons_rows(installed):
    call = ["poison", "--model", "model", "--data", "clean.jsonl", "--dev", "dev.jsonl", "--out", "theta_p"]
    said = run(
        installed, *call, "--trigger", "shout:ending=?!", "--target", "0", "--count", "20", "--epochs", "1", "-q"
    )
    assert said["poisoning"]["poisoned"] == 20
    assert said["dev_asr"] is not None


def test_the_detector_fits_saves_opens_and_screens(installed):
    fit = ["fit", "--model", "model", "--data", "clean.jsonl", "--calibrate", "dev.jsonl", "--frr", "0.1", "-q"]
    made = run(installed, *fit, "--defense", "margin", "--set", "rows=100", "--out", "guard")
    state = json.loads((installed / "guard" / "guard.json").read_text())
    assert (state["defense"], state["settings"]["rows"], state["gamma"]) == ("margin", 100, made["gamma"])
    assert state["usual"][0] > 0
    said = run(installed, "screen", "guard", "test.jsonl", "--victim", "model", "--out", "verdicts.jsonl", "-q")
    records = [json.loads(line) for line in (installed / "verdicts.jsonl").read_text().splitlines()]
    assert said["n"] == len(records) == 20
    assert all((record["confidence"] > made["gamma"]) == (record["outcome"] == "poisoned") for record in records)
    assert any(record["label"] is not None for record in records)
