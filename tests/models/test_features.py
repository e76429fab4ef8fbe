"""Hidden states as features: padding, virtual tokens and company must not show in them."""

import numpy as np
import pytest

from poisonsieve import registry
from poisonsieve.config import TuneSpec
from poisonsieve.errors import ConfigError
from poisonsieve.models import grouping, load_classifier
from poisonsieve.models.results import pool
from poisonsieve.models.scoring import BatchScorer
from poisonsieve.tuning import finetune

TOLERANCE = 1e-5
CASES = [(kind, method) for kind in ("encoder", "decoder") for method in (None, *registry.names("tuning"))]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def classifier(request, tiny, toy_train):
    kind, method = request.param
    opened = load_classifier(tiny(kind))
    if method is not None:
        few = toy_train.select(range(32))
        finetune(opened, few, TuneSpec(method=method, epochs=1, learning_rate=1e-2, precision="fp32"))
    return opened


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
def test_padded_and_alone_give_the_same_features(classifier, pooling, toy_test, monkeypatch):
    """Usually batches hold little padding; here passes are taken to be dear, so that one batch holds much."""
    by_length = sorted(toy_test["text"], key=len)
    texts = by_length[:3] + by_length[-3:]
    monkeypatch.setitem(grouping.PASS_TOKENS, "cpu", 10_000)
    passes, inputs = [], classifier.inputs
    monkeypatch.setattr(classifier, "inputs", lambda rows: passes.append(rows) or inputs(rows))
    together = classifier.features(texts, pooling=pooling).values
    assert len(passes) == 1
    assert len({len(row) for row in passes[0]}) > 1
    alone = np.concatenate([classifier.features([text], pooling=pooling).values for text in texts])
    assert together.shape == (6, 2, 32)
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_one_vector_a_text_and_layer_in_order(classifier, toy_test):
    texts = list(toy_test["text"])[:12]
    said = classifier.features(texts, batch_size=5)
    assert said.values.shape == (12, 2, 32)
    assert said.values.dtype == np.float32
    np.testing.assert_allclose(classifier.features(texts[::-1]).values[::-1], said.values, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_the_last_layer_is_what_the_head_reads(kind, tiny):
    """The head on the features of the last layer gives the logits."""
    import torch

    classifier = load_classifier(tiny(kind))
    texts = ["a good film", "the plot was very dull and not really a plot"]
    features = torch.from_numpy(classifier.features(texts).values[:, -1])
    with torch.inference_mode():
        if classifier.is_decoder:
            logits = classifier.base.score(features)
        else:
            pooler = classifier.base.bert.pooler
            logits = classifier.base.classifier(pooler.activation(pooler.dense(features)))
    np.testing.assert_allclose(logits.numpy(), classifier.score(texts).values, atol=TOLERANCE)


def test_logits_and_states_of_chosen_layers_come_from_one_pass(classifier, toy_test, monkeypatch):
    texts = [*toy_test["text"][:9], "good film " * 400]
    expected, features = classifier.score(texts), classifier.features(texts)
    passes, run = [], classifier.run
    monkeypatch.setattr(classifier, "run", lambda *given, **named: passes.append(run(*given, **named)) or passes[-1])
    for layers in ([1], [1, 0]):
        passes.clear()
        logits, states = BatchScorer(classifier, batch_size=10).logits_and_states(texts, layers=layers)
        np.testing.assert_allclose(logits.values, expected.values, atol=TOLERANCE)
        np.testing.assert_allclose(states.values, features.values[:, layers], atol=TOLERANCE)
        assert logits.truncated.tolist() == states.truncated.tolist() == [False] * 9 + [True]
        assert sum(len(said.logits) for said in passes) == len(texts)
        kept = sum(state is not None for state in passes[0].hidden_states)
        assert kept == len(layers), "states that nobody asked for are held in memory"


@pytest.mark.parametrize("layers", [[2], [-1], []])
def test_layers_that_are_not_there(layers, tiny):
    with pytest.raises(ConfigError, match="layers 0 to 1"):
        BatchScorer(load_classifier(tiny("encoder"))).logits_and_states(["a film"], layers=layers)


def test_a_head_that_says_nothing_leaves_the_states(tiny):
    classifier = load_classifier(tiny("encoder"))
    classifier.base.classifier.weight.data.fill_(float("nan"))
    logits, states = BatchScorer(classifier).logits_and_states(["a good film"])
    assert logits.errors == ["model gave a result that is not a finite number"]
    assert states.errors == [None]
    assert np.isfinite(states.values).all()


def test_pooling_over_a_row_padded_on_either_side():
    import torch

    states = torch.arange(12, dtype=torch.float32).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert pool(states, mask, "first").tolist() == [[0, 1], [8, 9]]
    assert pool(states, mask, "last").tolist() == [[2, 3], [10, 11]]
    assert pool(states, mask, "mean").tolist() == [[1, 2], [9, 10]]


def test_a_text_without_tokens_has_a_reason(tiny):
    said = load_classifier(tiny("decoder")).features(["a film", "", "a plot"])
    assert said.errors == [None, "no tokens in the text", None]
    assert np.isnan(said.values[1]).all()
    assert np.isfinite(said.values[[0, 2]]).all()


def test_the_prompt_shows_in_the_features_but_is_not_pooled(tiny, toy_train):
    """With soft prompts the features change, and the text's own tokens stay those that are pooled."""
    plain, prompted = load_classifier(tiny("encoder")), load_classifier(tiny("encoder"))
    spec = TuneSpec(method="prompt_tuning", epochs=1, learning_rate=1e-2, precision="fp32", virtual_tokens=3)
    finetune(prompted, toy_train.select(range(32)), spec)
    rows = plain.encode(["a good film"]).ids
    before, after = (each.features(["a good film"], pooling="first").values for each in (plain, prompted))
    assert not np.allclose(before, after, atol=1e-3)
    hidden = prompted.run(**prompted.inputs(rows), layers=[0]).hidden_states[1].detach()
    assert hidden.shape[1] == 3 + len(rows[0])
    np.testing.assert_allclose(after[0, 0], hidden[0, 3].numpy(), atol=TOLERANCE)
