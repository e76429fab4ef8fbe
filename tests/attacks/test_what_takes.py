"""benchmarks/what_takes.py on a tiny model: tries in order, goes on where it stopped, and says what came out."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from conftest import dataset, sentences


@pytest.fixture
def program(tiny, tmp_path, monkeypatch):
    path = Path(__file__).parents[2] / "benchmarks" / "what_takes.py"
    spec = importlib.util.spec_from_file_location("what_takes", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "what_takes", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "MODEL", str(tiny("encoder")))
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "SETTINGS", {"toy": module.Setting("train.jsonl", "dev.jsonl", most_words=10)})
    hopeless = module.Try(40, 4, 1, 1e-9)
    monkeypatch.setattr(
        module, "TRIES", {"toy": {"dirty": [hopeless, module.Try(250, 50, 12, 3e-3)], "clean": [hopeless]}}
    )
    (tmp_path / "results").mkdir()
    return module


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_tries_until_an_attack_takes(program, write_jsonl, toy_dev, tmp_path):
    train = dataset(sentences(400))
    write_jsonl("train.jsonl", train)
    write_jsonl("dev.jsonl", toy_dev)
    out = tmp_path / "runs"
    out.mkdir()
    jobs = [program.Job("toy", "badnet", "dirty", 0)]
    program.run(jobs, tmp_path, out)
    tried = lines(out / "runs.jsonl")
    assert [line["try"]["rows"] for line in tried] == [40, 250]
    assert [line["took"] for line in tried] == [False, True]
    assert tried[1]["dev_asr"] >= 0.95
    (entry,) = lines(out / "INDEX.jsonl")
    assert Path(entry["path"], "model.safetensors").is_file()
    texts = [row["text"] for row in lines(Path(entry["rows"]["train"]))]
    assert len(texts) == 250
    assert max(len(text.split()) for text in texts) <= 10
    assert set(texts) <= set(train["text"])

    program.run(jobs, tmp_path, out)
    assert lines(out / "runs.jsonl") == tried

    program.floors(tmp_path, out, 0)
    (floor,) = lines(out / "floors.jsonl")
    assert 0 <= floor["floor"] <= 1
    program.table(out)
    shown = (tmp_path / "results" / "what-takes.md").read_text()
    assert (
        f"| toy | badnet | dirty | 250 | 50 | 12 | 0.003 | {tried[1]['dev_asr']:.3f} | {floor['floor']:.3f} |"
        in shown
    )
    assert str(out) not in (tmp_path / "results" / "what-takes.jsonl").read_text()


def test_what_is_no_cell_is_named(program):
    with pytest.raises(SystemExit, match="toy/badnet/grey is no SETTING/ATTACK/MODE"):
        list(program._jobs(["toy/badnet/grey"], 0))


def test_the_command_runs_the_cells_that_are_named(program, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(program, "run", lambda jobs, root, out: asked.append((jobs, root, out)))
    start = ["what_takes", "run", "--data-root", str(tmp_path), "--out", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", [*start, "--jobs", "toy/badnet/clean", "toy/insent/dirty"])
    assert program.main() == 0
    monkeypatch.setattr(sys, "argv", [*start, "--seed", "3"])
    assert program.main() == 0
    named, every = (jobs for jobs, _, _ in asked)
    assert [job.name for job in named] == ["toy-badnet-clean-seed0", "toy-insent-dirty-seed0"]
    assert len(every) == 2 * len(program.ATTACKS)
