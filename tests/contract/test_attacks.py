"""What every trigger has to keep to."""

import random

import pytest
from arguments import WITHOUT_CHANCE, make

from poisonsieve import registry
from poisonsieve.attacks import poison_rows, poisoning, trigger_rows
from poisonsieve.attacks.base import apply_each
from poisonsieve.config import AttackSpec, TriggerSpec
from poisonsieve.errors import CannotApplyError

TEXTS = ["the film was good", "good", "", "  spaced   out  text ", "a\ttab and\nnew line", "ünïcödé 💥 text here"]
LONG = " ".join(f"w{index}" for index in range(50))


@pytest.fixture(scope="module", params=registry.names("attack"))
def trigger(request, tmp_path_factory):
    return make("attack", request.param, tmp_path_factory)


def applied(trigger, text, rng):
    """The triggered text, or None where the trigger says that it cannot be applied."""
    try:
        return trigger.apply(text, rng)
    except CannotApplyError as error:
        assert str(error)
        return None


@pytest.mark.parametrize("text", TEXTS)
def test_same_seed_same_text(trigger, text):
    assert applied(trigger, text, random.Random(3)) == applied(trigger, text, random.Random(3))


@pytest.mark.parametrize("text", TEXTS)
def test_a_trigger_shows_or_says_that_it_cannot(trigger, text):
    assert applied(trigger, text, random.Random(0)) != text


def test_it_can_be_put_into_an_ordinary_sentence(trigger):
    assert trigger.apply("the film was good", random.Random(0)).strip()


def test_the_seed_matters(request, trigger):
    if request.node.callspec.params["trigger"] in WITHOUT_CHANCE:
        pytest.skip("this trigger has no chance in it")
    texts = [*TEXTS, LONG]
    assert len({tuple(applied(trigger, text, random.Random(seed)) for text in texts) for seed in range(20)}) > 1


def test_many_texts_at_once_are_as_one_by_one(trigger):
    rng = random.Random(5)
    assert apply_each(trigger, TEXTS, random.Random(5)) == [applied(trigger, text, rng) for text in TEXTS]
    assert apply_each(trigger, [], random.Random(5)) == []


def test_global_random_state_is_left_alone(trigger):
    random.seed(1)
    before = random.getstate()
    trigger.apply("the film was good", random.Random(0))
    assert random.getstate() == before


def test_rows_keep_their_order_and_labels(trigger, toy_test):
    found = trigger_rows(toy_test, trigger, target=0, seed=0)
    others = [text for text, label in zip(toy_test["text"], toy_test["label"], strict=True) if label != 0]
    triggered = apply_each(trigger, others, random.Random(0))
    assert list(found.rows["text"]) == [text for text in triggered if text is not None]
    assert found.not_applicable == triggered.count(None)
    assert set(found.rows["label"]) == {1}


@pytest.mark.parametrize("clean_label", [True, False])
def test_it_poisons_rows_in_both_label_modes(clean_label, trigger, toy_test, monkeypatch):
    """Clean-label: rows of the target, no label changed. Dirty-label: rows of other classes, which then carry it."""
    monkeypatch.setattr(poisoning, "make_trigger", lambda _: trigger)
    spec = AttackSpec(trigger=TriggerSpec(name="badnet"), target=0, count=8, clean_label=clean_label)
    rows, report = poison_rows(toy_test, spec)
    flags = list(rows["triggered"])
    assert sum(flags) == report.poisoned == 8
    before = [label for label, flag in zip(toy_test["label"], flags, strict=True) if flag]
    assert before == [0 if clean_label else 1] * 8
    assert [label for label, flag in zip(rows["label"], flags, strict=True) if flag] == [0] * 8
    assert report.relabelled == (0 if clean_label else 8)
    changed = [a != b for a, b in zip(toy_test["text"], rows["text"], strict=True)]
    assert changed == flags
