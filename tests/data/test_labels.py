"""Labels mean the same in every format, as pandas and other tools write them."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.data import labels_of, load_dataset
from poisonsieve.data.label_values import MISSING, NoLabelError, read_label
from poisonsieve.data.labels import Labelled, encode_labels, in_order
from poisonsieve.errors import DataError

FORMATS = ["csv", "tsv", "csv.gz", "jsonl", "parquet"]


def write(path, labels):
    frame = pd.DataFrame({"text": [f"text {n}" for n in range(len(labels))], "label": labels})
    if "csv" in path.name or "tsv" in path.name:
        frame.to_csv(path, index=False, sep="\t" if "tsv" in path.name else ",")
    elif "jsonl" in path.name:
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    return str(path)


def loaded(labels, label_names=None):
    rows = [Labelled(f"it:{n}", "text", label) for n, label in enumerate(labels, 1)]
    numbers, names = encode_labels(rows, label_names)
    return [names[number] for number in numbers], names


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0.0, 1.0, 1.0], ["0", "1"]),
        ([float(n % 12) for n in range(24)], [str(n) for n in range(12)]),
        ([False, True, True], ["False", "True"]),
        (["true", "false"], ["False", "True"]),
        ([" pos", "neg", "pos "], ["neg", "pos"]),
        ([f"LABEL_{n % 12}" for n in range(24)], [f"LABEL_{n}" for n in range(12)]),
        (["0", "1", "0"], ["0", "1"]),
    ],
)
def test_the_same_in_every_format(tmp_path, kind, labels, names):
    found = load_dataset(write(tmp_path / f"a.{kind}", labels))
    assert labels_of(found) == names
    shown = [str(int(label)) if isinstance(label, float) else str(label).strip() for label in labels]
    wanted = [names.index(name if name in names else name.capitalize()) for name in shown]
    assert found["label"][:] == wanted


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("label", [0.5, -1.0, 1e300])
def test_other_numbers_are_refused_in_every_format(tmp_path, kind, label):
    path = write(tmp_path / f"a.{kind}", [0.0, 1.0, label])
    line = 4 if "sv" in kind else 3
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert str(caught.value).startswith(f"{path}:{line}: label ")


@pytest.mark.parametrize("kind", FORMATS)
def test_missing_labels_are_counted_and_the_first_is_named(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", ["neg", "pos", None, "NULL", "<NA>"])
    line = 4 if "sv" in kind else 3
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert str(caught.value) == f"{path}:{line}: label is missing, and in 2 more of 5 rows"


@pytest.mark.parametrize("word", [*sorted(MISSING), "", " ", " NA ", None, float("nan"), np.float64("nan")])
def test_what_stands_for_a_missing_label(word):
    with pytest.raises(DataError, match="it:2: label is missing"):
        loaded(["neg", word, "pos"])
    with pytest.raises(DataError, match="it:1: label is missing"):
        loaded([word], ["neg", "pos"])


@pytest.mark.parametrize("word", ["NAN", "Nan", "Null", "nULL", "<na>", "<Na>", "N/a", "#n/a", "#N/a"])
def test_the_case_of_these_words_does_not_matter(word):
    with pytest.raises(DataError, match="it:2: label is missing"):
        loaded(["neg", word, "pos"])


@pytest.mark.parametrize("word", ["none", "na", "Na", "NONE", "nothing", "nullable"])
def test_these_words_are_classes(word):
    assert word in loaded(["neg", word])[1]


def test_a_models_class_of_such_a_name_is_that_class():
    assert loaded(["None", "NA", "pos"], ["pos", "NA", "None"])[0] == ["None", "NA", "pos"]
    assert loaded(["none", "against"])[1] == ["against", "none"]  # a stance, and no word for missing


@pytest.mark.parametrize("value", [0, 0.0, "0", "0.0", " 0 ", "+0", "00", "0e0", np.int64(0), np.float32(0), "-0.0"])
def test_zero_in_many_ways(value):
    assert read_label(value) == 0
    assert isinstance(read_label(value), int)


@pytest.mark.parametrize(
    "value", [0.5, "0.5", ".5", "1e-3", "inf", float("inf"), "1e999", "-Infinity", "9" * 400, [1], b"a"]
)
def test_what_is_no_label(value):
    with pytest.raises(NoLabelError):
        read_label(value)


def test_truth_values_among_other_names_stay_as_they_are_written():
    assert loaded(["true", "mostly-true", "false"])[1] == ["false", "mostly-true", "true"]
    assert loaded([True, "false"])[1] == ["False", "True"]
    assert loaded([True, "FALSE"], ["true", "false"])[0] == ["true", "false"]
    assert loaded(["True", False], ["False", "True"])[0] == ["True", "False"]


def test_numbers_and_names_do_not_mix_in_any_format(tmp_path):
    for labels in (["pos", "0"], ["pos", 0], ["pos", "0.0"]):
        with pytest.raises(DataError, match="it:2: label 0 is a number, but other rows have names"):
            loaded(labels)


@given(st.lists(st.integers(0, 10**30), unique=True, min_size=1), st.text(st.sampled_from("ab_-"), max_size=4))
def test_names_are_sorted_by_the_numbers_in_them(numbers, word):
    names = [f"{word}{number}" for number in numbers]
    assert sorted(names, key=in_order) == [f"{word}{number}" for number in sorted(numbers)]


@given(st.text(st.sampled_from("a0129"), max_size=5), st.text(st.sampled_from("a0129"), max_size=5))
def test_the_order_of_names_is_one(one, other):
    assert (in_order(one) == in_order(other)) == (one == other)
    assert sorted([one, other], key=in_order) == sorted([other, one], key=in_order)


def test_hub_rows_are_read_alike():
    rows = [Labelled(f"hub:it#train:{n}", "text", label) for n, label in enumerate([True, False, np.bool_(True)], 1)]
    assert encode_labels(rows, None) == ([1, 0, 1], ["False", "True"])


def test_a_label_is_told_by_its_file_and_line_in_json(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": "t", "label": label}) + "\n" for label in ("a", "b", "n/a")))
    with pytest.raises(DataError, match=r"a\.jsonl:3: label is missing \(n/a stands for that\)"):
        load_dataset(str(path))
