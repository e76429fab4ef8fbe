"""The benchmark of what a guard costs: its clock, and the whole of it on a tiny model."""

import importlib.util
import json
import sys

import pytest

import guard_speed
from conftest import dataset, sentences
from interleaved import Spread, in_turn, times_of


def test_every_round_begins_with_another_way_and_the_first_is_not_timed():
    called = []
    seconds = in_turn({name: lambda name=name: called.append(name) for name in "abc"}, rounds=3)
    assert "".join(called) == "abcbcacababc"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_taken_within_rounds():
    found = times_of({"bare": [1.0, 10.0, 2.0], "guarded": [2.0, 20.0, 5.0]}, "bare")
    assert found["bare"] == Spread(1.0, 1.0, 1.0)
    assert found["guarded"] == Spread(2.0, 2.0, 2.25)


def run(tiny, folder, monkeypatch, serve_seconds):
    """The report of a small run on a tiny model."""
    counts = {"--rounds": 1, "--blocks": 1, "--fit-rounds": 1, "--rows": 16, "--fit-rows": 150}
    options = [str(part) for pair in counts.items() for part in pair]
    for seed, split in enumerate(("train", "dev", "test")):
        dataset(sentences(150, seed=seed)).to_json(folder / f"{split}.jsonl")
    data = ["--model", str(tiny("encoder")), "--data", str(folder), "--out", str(folder)]
    monkeypatch.setattr(sys, "argv", ["guard_speed.py", *options, *data, "--serve-seconds", str(serve_seconds)])
    guard_speed.main()
    return json.loads((folder / "guard_speed.json").read_text())


def test_the_table_has_every_way_and_counts_their_operations(tiny, tmp_path, monkeypatch, capsys):
    report = run(tiny, tmp_path, monkeypatch, serve_seconds=0)
    rows = {row["name"]: row for row in report["rows"] if not row["name"].endswith("OpenVINO")}
    two, one = ("PSIM, as published", "PSIM", "psim-rarity"), ("victim alone", "rarity", "mahalanobis", "msp")
    assert list(rows) == [one[0], *two, *one[1:], "cascade", "transformers' pipeline"]
    assert {rows[name]["passes"] for name in two} == {"two"}
    assert {rows[name]["passes"] for name in one} == {"one"}
    bare = rows["victim alone"]["million_operations"]
    assert rows["transformers' pipeline"]["million_operations"] == rows["msp"]["million_operations"] == bare
    assert bare < rows["mahalanobis"]["million_operations"] == rows["rarity"]["million_operations"] < 1.5 * bare
    assert rows["PSIM"]["million_operations"] > 2 * bare * 0.9  # a rejected text is not read again
    one_pass, copy = (rows[name]["million_operations"] for name in ("mahalanobis", "psim-rarity"))
    assert one_pass < rows["cascade"]["million_operations"] < one_pass + copy
    compiled = [row["name"] for row in report["rows"] if row["name"].endswith("OpenVINO")]
    if importlib.util.find_spec("openvino") is not None:
        assert compiled == ["victim alone, OpenVINO", "psim-rarity, OpenVINO", "rarity, OpenVINO"]
        assert set(report["facts"]["beside_openvino"]) == {*compiled[1:]}
    table = (tmp_path / "guard_speed.md").read_text()
    assert all(f"| {name} |" in table for name in rows)
    assert table.splitlines()[2] in capsys.readouterr().out


@pytest.mark.slow
def test_three_guards_are_served(tiny, tmp_path, monkeypatch):
    report = run(tiny, tmp_path, monkeypatch, serve_seconds=1)
    served = {row["name"]: row["served_per_s"] for row in report["rows"] if row["served_per_s"]}
    names = ["psim-rarity", "psim-rarity, OpenVINO", "rarity, OpenVINO"]
    assert list(served) == [name for name in names if name in {row["name"] for row in report["rows"]}]
    assert min(served.values()) > 1
    assert "texts/s of the service" in (tmp_path / "guard_speed.md").read_text()


def test_too_few_rows_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["guard_speed.py", "--rows", "3"])
    with pytest.raises(SystemExit):
        guard_speed.parse()
