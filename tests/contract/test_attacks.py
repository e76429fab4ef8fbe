"""What every trigger has to keep to."""

import random

import pytest

from poisonsieve import registry
from poisonsieve.attacks import make_trigger, trigger_rows

TEXTS = ["the film was good", "good", "", "  spaced   out  text ", "a\ttab and\nnew line", "ünïcödé 💥 text here"]


@pytest.fixture(params=registry.names("attack"))
def trigger(request):
    return make_trigger(request.param)


@pytest.mark.parametrize("text", TEXTS)
def test_same_seed_same_text(trigger, text):
    assert trigger.apply(text, random.Random(3)) == trigger.apply(text, random.Random(3))


@pytest.mark.parametrize("text", TEXTS)
def test_a_trigger_shows(trigger, text):
    assert trigger.apply(text, random.Random(0)) != text


def test_the_seed_matters(trigger):
    text = " ".join(f"w{index}" for index in range(50))
    assert len({trigger.apply(text, random.Random(seed)) for seed in range(20)}) > 1


def test_global_random_state_is_left_alone(trigger):
    random.seed(1)
    before = random.getstate()
    trigger.apply("the film was good", random.Random(0))
    assert random.getstate() == before


def test_rows_keep_their_order_and_labels(trigger, toy_test):
    rows = trigger_rows(toy_test, trigger, target=0, seed=0).rows
    kept = [text for text, label in zip(toy_test["text"], toy_test["label"], strict=True) if label != 0]
    assert set(rows["label"]) == {1}
    assert len(rows) == len(kept)
    for before, after in zip(kept, rows["text"], strict=True):
        assert [word for word in after.split() if word in before.split()]
