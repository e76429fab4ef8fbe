"""Which class of a model a label, a data set's class or an option means."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.data import class_number, hub, load_dataset
from poisonsieve.data.classes import match_classes
from poisonsieve.data.labels import Labelled, encode_labels
from poisonsieve.errors import ConfigError, DataError

FORMATS = ["csv", "tsv", "jsonl", "parquet"]


def loaded(labels, label_names):
    rows = [Labelled(f"it:{n}", "text", label) for n, label in enumerate(labels, 1)]
    return [label_names[number] for number in encode_labels(rows, label_names)[0]]


def write(path, labels):
    """A file as a tool writes it that has the labels as they are: numbers in JSONL and Parquet, text in tables."""
    if path.suffix == ".parquet":
        pd.DataFrame({"text": ["t"] * len(labels), "label": labels}).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": "t", "label": label}) + "\n" for label in labels))
    else:
        sign = "," if path.suffix == ".csv" else "\t"
        path.write_text(f"text{sign}label\n" + "".join(f"t{sign}{label}\n" for label in labels))
    return str(path)


def test_numbers_that_are_a_models_names_are_names():
    for one in (1, "1", 1.0, "1.0"):
        assert loaded([one], ["1", "2"]) == ["1"]
        assert loaded([one], ["1", "0"]) == ["1"]
        assert loaded([one], ["neg", "pos"]) == ["pos"]
    with pytest.raises(DataError, match="none of the model's classes: 1, 2"):
        loaded([0], ["1", "2"])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("names", "labels", "classes"),
    [
        (["1.0", "2.0", "3.0"], [1.0, 2.0, 3.0], [0, 1, 2]),
        (["1.0", "2.0", "3.0"], [1, 2, 3], [0, 1, 2]),
        (["1.0", "0.0"], [1.0, 0.0], [0, 1]),
        (["1", "0"], [1.0, 0.0], [0, 1]),
        (["-1", "0", "1"], [-1, 0, 1], [0, 1, 2]),
        (["-1.0", "1.0"], [-1, 1], [0, 1]),
        (["1", "-1"], [-1.0, 1.0], [1, 0]),
        (["0.5", "1.5"], [0.5, 1.5], [0, 1]),
        (["5", "neg"], [5, 5], [0, 0]),
        (["0", "neg"], [0, 1], [0, 1]),
    ],
)
def test_a_number_is_the_class_of_that_value_in_every_format(tmp_path, kind, names, labels, classes):
    assert load_dataset(write(tmp_path / f"a.{kind}", labels), label_names=names)["label"][:] == classes
    assert (
        load_dataset(write(tmp_path / f"b.{kind}", list(map(str, labels))), label_names=names)["label"][:] == classes
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("names", "label", "says"),
    [
        (["1.0", "2.0"], 0, "none of the model's classes: 1.0, 2.0"),
        (["-1", "1"], 0, "none of the model's classes: -1, 1"),
        (["0", "1"], -1, "label -1 is negative"),
        (["neg", "pos"], -1, "label -1 is negative"),
        (["1", "neg"], 1, "may mean class number 0, called '1' or class number 1, called 'neg'"),
        (["neg", "0"], 0, "may mean class number 1, called '0' or class number 0, called 'neg'"),
        (["LABEL_1", "LABEL_0"], 0, "may mean class number 1, called 'LABEL_0' or class number 0, called 'LABEL_1'"),
        (["1", "1.0"], 1, "may mean class number 0, called '1' or class number 1, called '1.0'"),
    ],
)
def test_a_number_that_is_no_class_or_two_is_refused_in_every_format(tmp_path, kind, names, label, says):
    for path in (write(tmp_path / f"a.{kind}", [label]), write(tmp_path / f"b.{kind}", [str(label)])):
        with pytest.raises(DataError) as caught:
            load_dataset(path, label_names=names)
        assert says in str(caught.value)
        assert str(caught.value).startswith(f"{path}:")
        assert "\n" not in str(caught.value)


@given(st.lists(st.integers(-20, 20), unique=True, min_size=2, max_size=8), st.data())
def test_however_a_number_is_written_it_is_the_class_of_that_value(values, data):
    ways = (str, lambda value: f"{value}.0", lambda value: f"{value}e0")
    names = [data.draw(st.sampled_from(ways))(value) for value in values]
    value = data.draw(st.sampled_from(values))
    for label in (value, float(value), Decimal(value), np.int64(value), *(way(value) for way in ways)):
        assert loaded([label], names) == [names[values.index(value)]]


def test_a_name_that_is_a_number_of_any_length_breaks_nothing():
    names = ["9" * 400, "1e99999999999999999999", "inf"]
    assert loaded([names[0], names[1], " inf "], names) == names


def test_the_hubs_labels_are_positions_whatever_its_classes_are_called(monkeypatch):
    rows = [Labelled(f"hub:it:{n}", "text", n) for n in range(3)]
    monkeypatch.setattr(hub, "load", lambda *_: (rows, ["1", "2", "0"]))
    found = load_dataset("hub:owner/name")
    assert (found["label"][:], found.features["label"].names) == ([0, 1, 2], ["1", "2", "0"])
    assert load_dataset("hub:owner/name", label_names=["2.0", "1.0", "0.0"])["label"][:] == [1, 0, 2]
    for label, says in ((3, "not a class number from 0 to 2"), ("1", None), (-1, "negative"), (None, "missing")):
        monkeypatch.setattr(hub, "load", lambda *_, row=label: ([Labelled("hub:it:1", "t", row)], ["1", "2", "0"]))
        if says is None:
            assert load_dataset("hub:owner/name")["label"][:] == [1]
            continue
        with pytest.raises(DataError, match=f"hub:it:1: label .*{says}"):
            load_dataset("hub:owner/name")


def test_classes_match_by_number_only_where_the_numbers_are_their_own():
    twelve = [f"LABEL_{n}" for n in range(12)]
    names = [f"class {chr(97 + n)}" for n in range(12)]
    assert match_classes(twelve, names, "it") == list(range(12))
    assert match_classes(names, twelve, "it") == list(range(12))
    with pytest.raises(DataError, match="use data with the model's classes"):
        match_classes(sorted(twelve), names, "it")  # sorted as text: class 2 would become number 4
    with pytest.raises(DataError):
        match_classes(names, sorted(twelve), "it")
    with pytest.raises(DataError):
        match_classes(["1", "2"], ["neg", "pos"], "it")
    assert match_classes(sorted(twelve), [str(n) for n in range(12)], "it") == [
        int(name[6:]) for name in sorted(twelve)
    ]
    assert match_classes(["0", "1"], ["LABEL_1", "LABEL_0"], "it") == [1, 0]
    assert match_classes(["1", "2"], ["LABEL_0", "LABEL_1"], "it") == [
        0,
        1,
    ]  # the model has no names: its order counts


def test_numbers_match_by_their_value():
    assert match_classes(["0", "1"], ["1.0", "0.0"], "it") == [1, 0]
    assert match_classes(["-1", "1"], ["1.0", "-1.0"], "it") == [1, 0]
    assert match_classes(["2", "1"], ["1.0", "2.0", "3.0"], "it") == [1, 0]
    for names, model in ((["0", "1"], ["1", "2"]), (["1", "2"], ["0", "1"]), (["0", "1"], ["1", "neg"])):
        with pytest.raises(DataError, match="use data with the model's classes"):
            match_classes(names, model, "it")


def test_exact_names_come_before_names_in_another_case():
    assert match_classes(["a", "A"], ["A", "a"], "it") == [1, 0]
    assert match_classes(["Pos", "NEG"], ["neg", "pos"], "it") == [1, 0]
    assert match_classes(["A", "B"], ["a", "A", "b"], "it") == [1, 2]
    for names, model in ((["Pos", "b"], ["pos", "POS", "b"]), (["Pos", "POS"], ["pos", "b"])):
        with pytest.raises(DataError, match="use data with the model's classes"):
            match_classes(names, model, "it")


@given(st.lists(st.text("aAbB", min_size=1, max_size=2), unique=True, min_size=2, max_size=6), st.randoms())
def test_classes_of_the_same_names_are_the_same_whatever_their_order(names, random):
    model = random.sample(names, len(names))
    assert [model[number] for number in match_classes(names, model, "it")] == names


def test_a_class_is_asked_by_name_or_by_number():
    assert class_number("pos", ["neg", "pos"]) == class_number("1", ["neg", "pos"]) == 1
    assert class_number("1", ["1", "2"]) == class_number("1.0", ["1", "2"]) == 0
    assert class_number("-1", ["-1", "1"]) == 0


@pytest.mark.parametrize(
    ("wanted", "names", "says"),
    [
        ("0", ["1", "2"], "--target 0 is not a class; the class names are numbers, so give a name: 1, 2"),
        ("2", ["neg", "pos"], "--target 2 is not a class; classes: 0 = neg, 1 = pos"),
        ("-1", ["neg", "pos"], "--target -1 is not a class"),
        ("9" * 5000, ["neg", "pos"], "--target 9999999999999999999999999999999999999999... is not a class"),
        ("9" * 5000, ["1", "2"], "9... is not a class; the class names are numbers"),
        ("1.0", ["1", "neg"], "may mean class number 0, called '1' or class number 1, called 'neg'"),
        ("\u0661", ["neg", "pos"], "is not a class"),
        ("", ["neg", "pos"], "is not a class"),
    ],
)
def test_what_is_no_class_is_said_in_one_line(wanted, names, says):
    with pytest.raises(ConfigError) as caught:
        class_number(wanted, names, "--target")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
