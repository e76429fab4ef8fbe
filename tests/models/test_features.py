"""Hidden states as features: padding, virtual tokens and company must not show in them."""

import numpy as np
import pytest

from poisonsieve import registry
from poisonsieve.config import TuneSpec
from poisonsieve.models import load_classifier
from poisonsieve.models.results import pool
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
def test_padded_and_alone_give_the_same_features(classifier, pooling, toy_test):
    """`features` sorts by length, so its batches hold little padding; here one batch holds much."""
    by_length = sorted(toy_test["text"], key=len)
    rows = classifier.encode(by_length[:3] + by_length[-3:]).ids
    together = classifier._features(rows, pooling)
    alone = np.concatenate([classifier._features([row], pooling) for row in rows])
    assert len({len(row) for row in rows}) > 1
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
    assert not np.allclose(plain._features(rows, "first"), prompted._features(rows, "first"), atol=1e-3)
    hidden = prompted.run(**prompted.inputs(rows), output_hidden_states=True).hidden_states[1].detach()
    assert hidden.shape[1] == 3 + len(rows[0])
    np.testing.assert_allclose(prompted._features(rows, "first")[0, 0], hidden[0, 3].numpy(), atol=TOLERANCE)
