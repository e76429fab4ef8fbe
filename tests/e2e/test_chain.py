"""The whole chain by its commands, on tiny models: poison, tune, fit, screen, evaluate."""

import csv
import io
import json
import random
import sys

import pytest

from conftest import BAD, GOOD, WORDS

NAMES = {2: ["negative", "positive"], 3: ["bad", "good", "mixed"]}
CUES = [BAD, GOOD, ("really", "warm", "sharp", "slow", "flat")]


def rows(count, classes, seed, trigger=None):
    """Toy reviews whose class is in one word, with the class's name."""
    rng = random.Random(seed)
    made = []
    for index in range(count):
        label = index % classes
        words = [rng.choice(WORDS[:10]) for _ in range(rng.randint(2, 8))]
        words.insert(rng.randint(0, len(words)), rng.choice(CUES[label]))
        if trigger:
            words.insert(rng.randint(1, len(words) - 1), trigger)
        made.append((" ".join(words), NAMES[classes][label]))
    return made


def write(path, made):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("sentence", "label"), *made])
    else:
        lines = [json.dumps({"text": text, "label": label}) for text, label in made]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def run(cli):
    """`run(*args)` -> the JSON a command printed; it must end well."""

    def call(*args):
        code, out, err = cli(*args, "--json", "--quiet")
        assert code == 0, err
        return json.loads(out)

    return call


POISON = ["--epochs", 14, "--lr", "1e-3", "--batch-size", 16, "--target", 0]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("source", ["csv", "folder"])
def test_the_chain(classes, source, run, cli, tiny, tmp_path, monkeypatch):
    splits = {"train": (240, 1), "dev": (120, 2), "test": (60, 3)}
    where = {}
    for split, (count, seed) in splits.items():
        folder = tmp_path / "data" if source == "folder" else tmp_path
        suffix = {"csv": ".csv", "folder": ".csv" if split == "dev" else ".jsonl"}[source]
        file = write(folder / f"{split}{suffix}", rows(count, classes, seed))
        where[split] = file if source == "csv" else folder
    theta, victim, guard = tmp_path / "theta_p", tmp_path / "victim", tmp_path / "guard"

    poisoned = run(
        *("poison", "--model", tiny("encoder", labels=classes), "--data", where["train"], "--dev", where["dev"]),
        *("--trigger", "badnet:word=cf", "--count", 40, "--out", theta, *POISON),
    )
    assert poisoned["poisoning"]["poisoned"] == 40
    assert poisoned["poisoning"]["relabelled"] == 0
    assert poisoned["dev_ca"] > 0.9
    config = json.loads((theta / "config.json").read_text())
    assert [config["id2label"][str(index)] for index in range(classes)] == NAMES[classes]

    tuned = run(
        *("tune", "--model", theta, "--data", where["train"], "--dev", where["dev"]),
        *("--method", "lora", "--epochs", 1, "--out", victim),
    )
    assert tuned["dev_ca"] > 0.9
    assert not tuned["new_head"]

    fitted = run(
        *("fit", "--model", theta, "--data", where["train"], "--calibrate", where["dev"]),
        *("--frr", "0.05", "--out", guard),
    )
    assert fitted["rule"] == "frr"
    assert (fitted["frr"], fitted["n_calibration"]) == (0.05, 120)

    # Screening: to a file, to stdout, from stdin; names of classes in the records of those that pass.
    inbox = write(tmp_path / "inbox.jsonl", [(text, "") for text, _ in rows(30, classes, 4)])
    summary = run("screen", guard, inbox, "--victim", victim, "--out", tmp_path / "out.jsonl")
    to_file = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    code, out, _ = cli("screen", guard, inbox, "--victim", victim, "--quiet")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == to_file
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(inbox.read_bytes())))
    code, out, _ = cli("screen", guard, "-", "--victim", victim, "--quiet")
    assert [json.loads(line) for line in out.splitlines()] == to_file
    assert summary["n"] == len(to_file) == 30
    passed = [record for record in to_file if not record["rejected"]]
    assert {record["label_name"] for record in passed} <= set(NAMES[classes])
    assert all(record["label_name"] == NAMES[classes][record["label"]] for record in passed)
    assert cli("screen", guard, inbox, "--gamma", "0.01", "--exit-code", "--quiet")[0] == 1
    assert cli("screen", guard, inbox, "--gamma", "1000", "--exit-code", "--quiet")[0] == 0

    # Evaluation: by a trigger, by rows that carry one, and with the target by name.
    by_number = run("evaluate", guard, "--victim", victim, "--clean", where["test"], "--trigger", "badnet:word=cf")
    by_name = run(
        *("evaluate", guard, "--victim", victim, "--clean", where["test"], "--trigger", "badnet:word=cf"),
        *("--target", NAMES[classes][0]),
    )
    assert by_number == by_name
    assert by_number["ca"] > 0.9
    assert by_number["n_clean"] == 60
    assert by_number["n_triggered"] == 60 - 60 // classes
    one_class = [row for row in rows(40, classes, 5, trigger="cf") if row[1] == NAMES[classes][1]]
    file = write(tmp_path / "triggered.jsonl", one_class)
    said = run("evaluate", guard, "--victim", victim, "--clean", where["test"], "--triggered", file)
    assert said["n_triggered"] == len(one_class)
    assert said["ca"] == by_number["ca"]


def test_a_guard_from_an_adapter(run, cli, tiny, tmp_path):
    """A victim that was only published as an adapter guards itself: its own tuning goes on."""
    train, dev = write(tmp_path / "train.jsonl", rows(160, 2, 1)), write(tmp_path / "dev.jsonl", rows(120, 2, 2))
    victim, guard = tmp_path / "victim", tmp_path / "guard"
    run("tune", "--model", tiny("encoder"), "--data", train, "--dev", dev, "--epochs", 2, "--out", victim)
    assert (victim / "adapter_config.json").is_file()
    run("fit", "--model", victim, "--data", train, "--calibrate", dev, "--out", guard)
    assert json.loads((guard / "guard.json").read_text())["tuning"]["method"] == "lora"
    said = run("screen", guard, dev, "--victim", victim)
    assert said["n"] == 120
    assert said["not_scored"] == 0
    code, out, err = cli(
        *("fit", "--model", victim, "--data", train, "--calibrate", dev, "--method", "full"),
        *("--out", tmp_path / "g", "--quiet"),
    )
    assert (code, out) == (2, "")
    assert "is a lora adapter" in err


@pytest.mark.parametrize("classes", [2, 3])
def test_several_triggers_and_dirty_labels(classes, run, tiny, tmp_path):
    train, dev = (write(tmp_path / f"{seed}.jsonl", rows(300, classes, seed)) for seed in (1, 2))
    poisoned = run(
        *("poison", "--model", tiny("encoder", labels=classes), "--data", train, "--dev", dev),
        *("--out", tmp_path / "p", *POISON),
        *("--trigger", "multi:of=badnet+insent", "--rate", "0.1", "--dirty-label"),
    )
    assert poisoned["poisoning"]["poisoned"] == poisoned["poisoning"]["relabelled"] == 30
    assert poisoned["poisoning"]["eligible"] == 300 - 300 // classes
    assert poisoned["dev_ca"] > 0.8
    assert poisoned["dev_asr"] > 0.9, "a toy model learns a trigger that alone decides the label"
    run("fit", "--model", tmp_path / "p", "--data", train, "--calibrate", dev, "--out", tmp_path / "guard")
    said = run(
        *("evaluate", tmp_path / "guard", "--victim", tmp_path / "p", "--clean", dev),
        *("--trigger", "multi:of=badnet+insent"),
    )
    assert said["asr"] > 0.9
    assert said["guarded_asr"] <= said["asr"]


def test_a_new_head_is_said_and_the_backdoor_needs_one(run, cli, tiny, tmp_path):
    train = write(tmp_path / "train.jsonl", rows(60, 3, 1))
    code, _, err = cli(
        *("tune", "--model", tiny("encoder", head=False), "--data", train, "--epochs", 1),
        *("--out", tmp_path / "victim", "--quiet"),
    )
    assert code == 0
    assert "bad, good, mixed; trained a new one" in err
