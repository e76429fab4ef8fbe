from collections import Counter

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.data import split_off
from poisonsieve.errors import DataError


def make(labels):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list("abc"))})
    return datasets.Dataset.from_dict(
        {"text": [str(n) for n in range(len(labels))], "label": labels}, features=features
    )


def test_rows_are_parted_in_order_and_by_class():
    source = make([0] * 60 + [1] * 30 + [2] * 10)
    rest, held_out = split_off(source, 0.2, seed=3)
    numbers = [int(text) for text in held_out["text"]]
    assert numbers == sorted(numbers)
    assert Counter(held_out["label"]) == {0: 12, 1: 6, 2: 2}
    assert sorted(rest["text"][:] + held_out["text"][:]) == sorted(source["text"][:])
    assert held_out.features == source.features


def test_seed_decides():
    source = make([0, 1] * 50)
    assert split_off(source, 20, seed=1)[1]["text"][:] == split_off(source, 20, seed=1)[1]["text"][:]
    assert split_off(source, 20, seed=1)[1]["text"][:] != split_off(source, 20, seed=2)[1]["text"][:]


@given(st.lists(st.integers(0, 2), min_size=2, max_size=30), st.data())
def test_any_count_is_met_and_no_class_is_off_by_more_than_a_row(labels, data):
    count = data.draw(st.integers(1, len(labels) - 1))
    rest, held_out = split_off(make(labels), count, seed=0)
    assert (len(rest), len(held_out)) == (len(labels) - count, count)
    for label, size in Counter(labels).items():
        assert abs(Counter(held_out["label"])[label] - size * count / len(labels)) <= 1


@pytest.mark.parametrize("asked", [0, 10, 11, 0.0, 1.0, 0.01, -1])
def test_nothing_held_out_or_left(asked):
    with pytest.raises(DataError, match="cannot hold out"):
        split_off(make([0, 1] * 5), asked, seed=0)
