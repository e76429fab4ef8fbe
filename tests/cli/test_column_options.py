"""Files whose columns have names of their own, through every command that reads data."""

import csv
import json

import pandas as pd
import pytest
from pyarrow import parquet

from conftest import sentences
from poisonsieve.data import Columns
from poisonsieve.guard import bulk

pytest_plugins = ["commands"]

NAMES = ("--text-column", "body", "--label-column", "kind")


@pytest.fixture
def own(tmp_path):
    """`own(name, seed)` -> a table of texts with the columns ticket, body and kind."""

    def write(name, seed=1, rows=120):
        frame = pd.DataFrame(sentences(rows, seed=seed), columns=["body", "kind"])
        frame.insert(0, "ticket", [f"T-{number}" for number in range(rows)])
        path = tmp_path / name
        frame.to_csv(path, index=False)
        return path

    return write


@pytest.fixture
def ids_of():
    def read(path):
        if path.suffix == ".parquet":
            return parquet.read_table(path)["id"].to_pylist()
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                return [row["id"] for row in csv.DictReader(stream)]
        if path.suffix == ".sarif":
            return [result["properties"]["id"] for result in json.loads(path.read_text())["runs"][0]["results"]]
        return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]

    return read


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet", "sarif"])
def test_the_id_comes_back_in_every_record(ending, cli, guard_folder, own, tmp_path, ids_of):
    out = tmp_path / f"verdicts.{ending}"
    named = ("--text-column", "body", "--id-column", "ticket")
    strict = ("--gamma", "0.000001")  # SARIF holds what is rejected
    code, _, err = cli("screen", guard_folder, own("in.csv"), *named, *strict, "--out", out, "--quiet")
    assert code == 0, err
    assert ids_of(out) == [f"T-{number}" for number in range(120)]


def test_the_id_comes_back_on_stdout_and_in_json_and_of_rows_that_cannot_be_read(cli, guard_folder, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"n": 4, "text": "a good film"}\n{"n": 5, "text": 3}\n{"text": "no id"}\n', encoding="utf-8")
    code, out, _ = cli("screen", guard_folder, source, "--id-column", "n", "--quiet")
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == [4, 5, None]
    _, out, _ = cli("screen", guard_folder, source, "--id-column", "n", "--json", "--quiet")
    assert [record["id"] for record in json.loads(out)["records"]] == [4, 5, None]
    _, out, _ = cli("screen", guard_folder, source, "--quiet")
    assert not any("id" in json.loads(line) for line in out.splitlines())


def test_without_the_option_the_way_is_said(refused, guard_folder, own, tmp_path, tiny):
    table = own("in.csv")
    says = ("columns: ticket, body, kind", "--text-column NAME")
    refused("screen", guard_folder, table, says=says)
    refused("tune", "--model", tiny("encoder"), "--data", table, "--out", tmp_path / "out", says=says)


def test_every_training_command_takes_them(cli, own, tiny, tmp_path, guard_folder):
    data, dev, model = own("train.csv", 1), own("dev.csv", 2, 60), tiny("encoder")
    training = ("--epochs", 1, "--data", data, "--dev", dev, *NAMES, "--json", "--quiet")
    code, out, err = cli("tune", "--model", model, *training, "--out", tmp_path / "victim")
    assert code == 0, err
    assert not json.loads(out)["new_head"]
    code, out, err = cli("poison", "--model", model, *training, "--count", 10, "--out", tmp_path / "theta_p")
    assert code == 0, err
    assert json.loads(out)["poisoning"]["poisoned"] == 10
    measured = ("--clean", dev, "--trigger", "badnet", "--victim", tmp_path / "victim")
    code, out, err = cli("evaluate", guard_folder, *measured, *NAMES, "--json", "--quiet", "--base", model)
    assert code == 0, err
    assert json.loads(out)["n_clean"] == 60


def test_rewrite_keeps_label_and_id(cli, own, tmp_path):
    source, out, pairs = own("in.csv", rows=2), tmp_path / "read.jsonl", tmp_path / "pairs.jsonl"
    texts = pd.read_csv(source)["body"]
    pairs.write_text("".join(json.dumps({"original": text, "text": f"so {text}"}) + "\n" for text in texts))
    rewriting = ("rewrite", "--defense", f"back-translation-file:file={pairs}", "--input", source, "--out", out)
    code, _, err = cli(*rewriting, *NAMES, "--id-column", "ticket", "--quiet")
    assert code == 0, err
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["text"] for record in records] == [f"so {text}" for text in texts]
    assert [record["id"] for record in records] == ["T-0", "T-1"]
    assert all("label" in record for record in records)


def test_workers_of_a_cluster_hand_the_id_on(guard_folder, own, tmp_path):
    table = own("in.csv", rows=4)
    (piece,) = bulk.rows_of({"file": [str(table)]}, Columns(text="body", id="ticket"))
    records = bulk.Screener(str(guard_folder), None, {}, with_text=False, with_id=True)(piece)
    assert records["id"].to_pylist() == ["T-0", "T-1", "T-2", "T-3"]
    assert "text" not in records.column_names


@pytest.mark.parametrize("defense", ["psim", "dan", "msp"])
def test_fit_needs_no_labels(defense, cli, own, tiny, tmp_path):
    train, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    pd.read_csv(own("a.csv"))[["body"]].to_csv(train, index=False)
    pd.read_csv(own("b.csv", 2, 60))[["body"]].to_csv(dev, index=False)
    fitting = (
        "fit",
        "--model",
        tiny("encoder"),
        "--defense",
        defense,
        "--data",
        train,
        "--calibrate",
        dev,
        "--frr-mean",
        0.05,
    )
    out = tmp_path / "guard"
    code, said, err = cli(*fitting, "--text-column", "body", "--out", out, "--json", "--quiet")
    assert code == 0, err
    assert json.loads(said)["n_calibration"] == 60
    code, said, err = cli(*fitting, "--text-column", "body", "--out", out, "--json", "--quiet")
    assert code == 0, err
    assert json.loads(said)["reused"]
    code, said, err = cli("screen", out, dev, "--text-column", "body", "--json", "--quiet")
    assert code == 0, err
    assert json.loads(said)["n"] == 60


def test_fit_on_unlabelled_text_is_the_fit_on_the_same_text_with_labels(cli, own, tiny, tmp_path):
    labelled = own("a.csv")
    bare = tmp_path / "bare.csv"
    pd.read_csv(labelled)[["body"]].to_csv(bare, index=False)
    found = []
    for number, data in enumerate((labelled, bare)):
        fitting = (
            "fit",
            "--model",
            tiny("encoder"),
            "--data",
            data,
            "--frr-mean",
            0.05,
            "--out",
            tmp_path / f"guard{number}",
        )
        code, said, err = cli(*fitting, *NAMES, "--json", "--quiet")
        assert code == 0, err
        found.append(json.loads(said)["gamma"])
    assert found[0] == found[1]


def test_fit_warns_of_many_classes_without_labels_too(cli, own, tiny, tmp_path):
    bare = tmp_path / "bare.csv"
    pd.read_csv(own("a.csv"))[["body"]].to_csv(bare, index=False)
    fitting = (
        "fit",
        "--model",
        tiny("encoder", labels=4),
        "--data",
        bare,
        "--frr-mean",
        0.05,
        "--out",
        tmp_path / "guard",
    )
    code, _, err = cli(*fitting, "--text-column", "body", "--quiet")
    assert code == 0, err
    assert "the model has 4 classes" in err
