"""Files that are missing, damaged or of the wrong kind: what the commands say, and what they leave."""

import json

import pytest

from conftest import sentences

pytest_plugins = ["commands"]

GOOD = sentences(40, seed=1)


@pytest.fixture
def reading(tiny, guard_folder, tmp_path):
    """`reading(command, data)` -> the arguments of a command that reads labelled data."""

    def arguments(command, data):
        model, out = tiny("encoder"), tmp_path / "out"
        return {
            "poison": ["poison", "--model", model, "--data", data, "--count", 3, "--out", out],
            "tune": ["tune", "--model", model, "--data", data, "--out", out],
            "fit": ["fit", "--model", model, "--data", data, "--out", out],
            "evaluate": ["evaluate", guard_folder, "--victim", model, "--clean", data, "--trigger", "badnet"],
        }[command]

    return arguments


COMMANDS = ["poison", "tune", "fit", "evaluate"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{oops", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ('{"label": 1}', "text is missing"),
        ('{"text": null, "label": 1}', "text is missing"),
        ('{"text": 5, "label": 1}', "not a string"),
        ('{"text": "a film"}', "label is missing"),
        ('{"text": "a film", "label": 7}', "label"),
        ('{"text": "a film", "label": -1}', "negative"),
        ('{"text": "a film", "label": "good"}', "label"),
        ('{"text": "\\ud83d", "label": 1}', "surrogate"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(command, line, says, reading, refused, rows_file, tmp_path):
    data = rows_file("rows.jsonl", [*GOOD[:5], line, *GOOD[5:]])
    refused(*reading(command, data), says=says)
    at_line = (
        1 if '"good"' in line and command != "evaluate" else 6
    )  # one name among numbers: the first number is odd
    refused(*reading(command, data), says=f"{data}:{at_line}: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_no_data(command, reading, refused, rows_file, tmp_path):
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"text": "a", "label": 0}\n{"text": "caf\xe9", "label": 1}\n')
    refused(*reading(command, latin), says=(f"{latin}:2: ", "UTF-8"))
    refused(*reading(command, tmp_path / "missing.jsonl"), says=("missing.jsonl", "no such file"))
    (tmp_path / "empty.jsonl").touch()
    refused(*reading(command, tmp_path / "empty.jsonl"), says="no rows")
    (tmp_path / "data.bin").write_bytes(bytes(range(256)))
    refused(*reading(command, tmp_path / "data.bin"), says=("unknown format", ".jsonl"))
    (tmp_path / "data.parquet").write_bytes(bytes(range(256)))
    refused(*reading(command, tmp_path / "data.parquet"), says="Parquet")
    (tmp_path / "headless.csv").write_text("a good film,1\na bad film,0\n")
    refused(*reading(command, tmp_path / "headless.csv"), says=("no column `text`", "a good film"))
    refused(*reading(command, ""), says="the data set's name is empty")
    (tmp_path / "folder").mkdir()
    refused(*reading(command, tmp_path / "folder"), says="no data file")
    refused(*reading(command, f"{rows_file('rows.jsonl', GOOD)}#dev"), says="no splits")


@pytest.mark.parametrize("command", ["poison", "tune", "fit"])
def test_one_class_is_not_enough(command, reading, refused, rows_file):
    data = rows_file("one.jsonl", [(text, 0) for text, _ in GOOD])
    refused(*reading(command, data), says=("every row has label", "two classes"))


def test_a_label_outside_the_classes_of_the_head(refused, rows_file, named, tiny, tmp_path):
    names = rows_file(
        "names.jsonl", [(text, ("neg", "pos")[label]) for text, label in GOOD] + [("a film", "psitive")]
    )
    refused("fit", "--model", named, "--data", names, "--out", tmp_path / "g", says=(f"{names}:41: ", "neg, pos"))
    numbers = rows_file("numbers.jsonl", [*GOOD, ("a film", 2)])
    refused("fit", "--model", tiny("encoder"), "--data", numbers, "--out", tmp_path / "g", says=f"{numbers}:41: ")


def test_labels_with_a_gap_are_refused_with_the_classes_of_the_head(refused, rows_file, named, tiny, tmp_path):
    stars = rows_file("stars.jsonl", [(text, (1, 5)[label]) for text, label in GOOD])
    for head, classes in ((named, "neg, pos"), (tiny("encoder"), "LABEL_0, LABEL_1")):
        for command in ("fit", "tune"):
            options = ["--model", head, "--data", stars, "--out", tmp_path / command]
            refused(command, *options, says=(f"{stars}:", "without a gap", f"the model's classes: {classes}"))
    none = tmp_path / "none.jsonl"
    assert "classes" not in refused("tune", "--model", named, "--data", none, "--out", tmp_path / "v")


def test_tuning_on_other_classes_is_said(cli, rows_file, named, tmp_path):
    names = rows_file(
        "names.jsonl", [(text, ("neg", "pos")[label]) for text, label in GOOD] + [("a film", "psitive")]
    )
    code, _, err = cli("tune", "--model", named, "--data", names, "--epochs", 1, "--out", tmp_path / "v", "--quiet")
    assert code == 0
    assert "neg, pos, psitive" in err


def test_too_few_calibration_rows(refused, tiny, train_file, rows_file, tmp_path):
    fit = ["fit", "--model", tiny("encoder"), "--data", train_file, "--out", tmp_path / "guard", "--quiet"]
    few = rows_file("few.jsonl", sentences(20, seed=9))
    refused(*fit, "--calibrate", few, says=("at least 59", "there are 20"))
    refused(*fit, "--frr", "0.02", says=("at least 149", "there are 32", "the lowest that 32 rows can promise"))
    refused(*fit, "--frr-mean", "0.02", says=("at least 49", "there are 32"))
    assert not (tmp_path / "guard").exists()


def test_calibrating_on_the_training_rows_is_refused(refused, tiny, train_file, tmp_path):
    refused(
        *("fit", "--model", tiny("encoder"), "--data", train_file, "--calibrate", train_file),
        *("--out", tmp_path / "guard"),
        says="training rows too",
    )


def test_screening_records_a_bad_line_and_goes_on(cli, guard_folder, tmp_path):
    source = tmp_path / "in.jsonl"
    lines = [
        b'{"text": "a good film"}',
        b"{oops",
        b'{"label": 1}',
        b'{"text": "caf\xe9"}',
        b'{"text": "\\ud83d"}',
        b'{"text": ""}',
        b'{"text": "good"}',
        b'{"sentence": "' + b"good " * 4000 + b'"}',
        b'{"text": 5}',
    ]
    source.write_bytes(b"\n".join(lines))
    code, out, _ = cli("screen", guard_folder, source, "--quiet")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [record["index"] for record in records] == list(range(len(lines)))
    assert [record["line"] for record in records] == list(range(1, len(lines) + 1))
    for place, says in {1: "not JSON", 2: "text is missing", 3: "UTF-8", 4: "surrogate", 8: "not a string"}.items():
        assert records[place]["rejected"]
        assert says in records[place]["reason"]
        assert f"{source}:{place + 1}" in records[place]["reason"]
        assert records[place]["confidence"] is None
    for place in (0, 6, 7):
        assert records[place]["confidence"] is not None
    assert (records[5]["cause"], records[5]["confidence"]) == ("empty", None)
    assert [record["truncated"] for record in records] == [place == 7 for place in range(len(lines))]


def test_inputs_that_cannot_be_screened(refused, cli, guard_folder, tmp_path):
    refused("screen", guard_folder, tmp_path / "none.jsonl", says="no such file")
    refused("screen", guard_folder, tmp_path, says="is a folder")
    (tmp_path / "headless.csv").write_text("a good film\n")
    refused("screen", guard_folder, tmp_path / "headless.csv", says="no column `text`")
    (tmp_path / "x.parquet").write_text("x")
    refused("screen", guard_folder, tmp_path / "x.parquet", says="Parquet")
    (tmp_path / "empty.jsonl").touch()
    code, out, err = cli("screen", guard_folder, tmp_path / "empty.jsonl", "--quiet")
    assert (code, out) == (0, "")
    assert err.startswith("0 texts")
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    code, out, _ = cli("screen", guard_folder, tmp_path / "noise", "--quiet")
    assert code == 0
    assert len(out.splitlines()) == 2, "byte 10 ends a line"


def test_a_text_that_the_guard_cannot_score(cli, guard_folder, test_file, monkeypatch):
    from poisonsieve.models.classifier import Classifier

    original = Classifier.forward

    def broken(self, input_ids, attention_mask, labels=None):
        if (attention_mask.sum(dim=1) == 8).any():
            raise RuntimeError("secret text")
        return original(self, input_ids, attention_mask, labels)

    monkeypatch.setattr(Classifier, "forward", broken)
    code, out, _ = cli("screen", guard_folder, test_file, "--json", "--quiet")
    said = json.loads(out)
    unscored = [record for record in said["records"] if record["confidence"] is None]
    assert code == 0
    assert 0 < len(unscored) == said["not_scored"] < said["n"] == 30
    for record in unscored:
        assert record["rejected"]
        assert record["reason"] == "model failed: RuntimeError"
    assert "secret" not in out
