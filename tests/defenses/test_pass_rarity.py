"""Rarity of a pass: two scores that add up, learned from clean passes."""

import numpy as np
import pytest

from poisonsieve import Guard
from poisonsieve.defenses import OnePassRarity
from poisonsieve.defenses.pass_rarity import PassRarity
from poisonsieve.errors import CheckpointError, DataError
from poisonsieve.models.results import Logits, PerText

LAYERS, HIDDEN = 2, 4


def passes(count, seed=0, sure=1.0, away=0.0):
    """Passes of a made-up network; `sure` scales the logits, `away` moves the states of its last layer."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(count, LAYERS, HIDDEN))
    states[:, -1] += away
    cut, errors = np.zeros(count, dtype=bool), [None] * count
    return (
        Logits(sure * rng.normal(size=(count, 3)), cut, errors),
        PerText(states.astype(np.float32), cut, errors),
    )


@pytest.fixture
def learned():
    return PassRarity.learn(passes(400)[1], passes(200, seed=1), of="the model", remedy="take another")


def test_each_of_the_two_alone_raises_the_score_and_both_raise_it_most(learned):
    clean = learned.rate(*passes(100, seed=2)).mean()
    sure = learned.rate(*passes(100, seed=2, sure=4.0)).mean()
    away = learned.rate(*passes(100, seed=2, away=4.0)).mean()
    both = learned.rate(*passes(100, seed=2, sure=4.0, away=4.0)).mean()
    assert clean < min(sure, away) and max(sure, away) < both


def test_a_confidence_that_saturates_is_still_told_apart(learned):
    _, states = passes(2)
    logits = Logits(np.array([[60.0, 0.0, -1.0], [80.0, 0.0, -1.0]]), states.truncated, states.errors)
    sure, surer = learned.scores(logits, states)["confidence"]
    assert surer - sure == pytest.approx(20)


def test_a_text_without_a_pass_has_no_score(learned):
    logits, states = passes(3)
    logits.values[0], states.values[1] = np.nan, np.nan
    assert np.isnan(learned.rate(logits, states)).tolist() == [True, True, False]


def test_rows_of_the_reference_are_rated_as_if_they_were_not_in_it(learned):
    calibration = passes(300, seed=3)
    own = learned.rate_reference(*calibration)
    again = learned.rate(*calibration)
    highest = np.argsort(own)[-10:]
    assert (own > again)[highest].all(), "a row in its own reference would look less rare than it is"


def test_few_calibration_rows_leave_the_reference_as_it_was(learned):
    before = learned.rarities["states"].reference
    learned.rate_reference(*passes(5, seed=4))
    assert learned.rarities["states"].reference is before


def test_what_was_learned_comes_back(learned):
    again = PassRarity.from_tensors(learned.to_tensors())
    np.testing.assert_array_equal(again.rate(*passes(50, seed=5)), learned.rate(*passes(50, seed=5)))


def test_too_few_rows_and_rows_that_are_read_alike_are_refused():
    def learn(fitted, held_out):
        return PassRarity.learn(fitted[1], held_out, of="the model", remedy="take another")

    with pytest.raises(DataError, match="the model can read 9 of 9 clean rows"):
        learn(passes(200), passes(9))
    alike = passes(50)
    alike[0].values[:] = 1.0
    with pytest.raises(CheckpointError, match="equally sure of every clean text; take another"):
        learn(passes(200), alike)


def test_the_guarded_victim_gives_the_scores_of_its_own_pass(tiny, toy_train, toy_dev, toy_test):
    guard = Guard(OnePassRarity(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)
    texts = list(toy_test["text"])
    scored, logits = guard.detector.read(texts)
    np.testing.assert_allclose(scored.scores, guard.decision_function(texts))
    np.testing.assert_allclose(logits.values, guard.detector.classifier_.score(texts).values, rtol=1e-4, atol=1e-5)
