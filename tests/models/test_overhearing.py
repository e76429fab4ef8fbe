"""Listening to a network: the states are those of a pass of one's own, and what is asked of it is answered as ever."""

import numpy as np
import pytest

from conftest import sentences
from poisonsieve import load_classifier
from poisonsieve.models.overhearing import overhearing
from poisonsieve.models.scoring import BatchScorer

TEXTS = [text for text, _ in sentences(12, seed=3)]


@pytest.fixture(scope="module")
def network(tiny):
    return load_classifier(tiny("encoder"))


@pytest.fixture
def passes(network, monkeypatch):
    """The number of rows in each forward pass."""
    seen, run = [], network.run

    def counted(attention_mask, **given):
        seen.append(len(attention_mask))
        return run(attention_mask, **given)

    monkeypatch.setattr(network, "run", counted)
    return seen


def layers_of(network):
    return list(range(network.states_shape[0]))


@pytest.mark.parametrize("ask", ["logits", "logits_and_states"])
def test_what_is_heard_is_what_a_pass_of_its_own_would_say(network, passes, ask):
    logits, states = BatchScorer(network).logits_and_states(TEXTS)
    alone = BatchScorer(network).logits(TEXTS)
    passes.clear()
    with overhearing(network, layers_of(network), set(TEXTS)) as heard:
        answer = getattr(BatchScorer(network), ask)(TEXTS)
    answered = answer if ask == "logits" else answer[0]
    np.testing.assert_array_equal(answered.values, alone.values)
    assert sum(passes) == len(TEXTS), "one pass over each text"
    for index, text in enumerate(TEXTS):
        np.testing.assert_array_equal(heard.said[text][0], logits.values[index])
        np.testing.assert_allclose(heard.said[text][1], states.values[index], rtol=1e-3, atol=1e-3)


def test_only_texts_of_interest_and_this_network_are_heard(network, tiny):
    other = load_classifier(tiny("encoder"))
    with overhearing(network, layers_of(network), set(TEXTS[:3])) as heard:
        BatchScorer(network).logits([*TEXTS, "a changed text"])
        BatchScorer(other).logits(["another"])
    assert sorted(heard.said) == sorted(TEXTS[:3])
    BatchScorer(network).logits(["after the block"])
    assert len(heard.said) == 3


def test_passes_that_read_the_text_otherwise_are_not_heard(network):
    with overhearing(network, layers_of(network), set(TEXTS)) as heard:
        BatchScorer(network).logits_and_states(TEXTS, pooling="mean")
        BatchScorer(network, max_length=4).logits(TEXTS)
        BatchScorer(network).logits_and_states(TEXTS, layers=[0])
    assert heard.said == {}


def test_a_text_that_cannot_be_read_is_heard_to_fail_and_the_others_are_not_affected(network):
    with overhearing(network, layers_of(network), {TEXTS[0], "\ud800"}) as heard:
        found = BatchScorer(network).logits([TEXTS[0], "\ud800"])
    assert [error is None for error in found.errors] == [True, False]
    assert np.isfinite(heard.said[TEXTS[0]][1]).all()
    assert np.isnan(heard.said["\ud800"][1]).all()
