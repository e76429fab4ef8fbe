"""What every tuning has to keep to, on an encoder and on a decoder."""

import numpy as np
import pytest

from poisonsieve import registry
from poisonsieve.config import TuneSpec
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.tuning import finetune

TOLERANCE = 1e-5
CASES = [(kind, method) for kind in ("encoder", "decoder") for method in registry.names("tuning")]


def spec_for(method, **changes):
    rate = 1e-3 if method == "full" else 1e-2
    return TuneSpec(method=method, epochs=2, learning_rate=rate, batch_size=16, precision="fp32", **changes)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def case(request, tiny, toy_train, toy_dev):
    kind, method = request.param
    folder = tiny(kind, head=False)
    classifier = load_classifier(folder, label_names=["0", "1"], head="any")
    result = finetune(classifier, toy_train, spec_for(method), dev=toy_dev)
    return kind, method, folder, classifier, result


def test_the_head_is_trained_and_so_is_the_rest(case):
    _, method, folder, classifier, _ = case
    fresh = load_classifier(folder, label_names=["0", "1"], head="any")
    head = "score" if classifier.is_decoder else "classifier"
    before = dict(fresh.base.named_parameters())
    trained = {name: p for name, p in classifier.network.named_parameters() if p.requires_grad}
    own = [name for name in trained if head not in name]
    assert own, "beside the head nothing is trained"
    moved = [p for name, p in trained.items() if head in name and "weight" in name]
    assert moved
    assert not np.allclose(moved[-1].detach().numpy(), before[f"{head}.weight"].detach().numpy())
    frozen = [p for p in classifier.network.parameters() if not p.requires_grad]
    assert bool(frozen) == (method != "full")


def test_saved_and_loaded_it_scores_the_same(case, tmp_path, toy_test):
    _, _, _, classifier, _ = case
    save_classifier(classifier, tmp_path)
    again = load_classifier(tmp_path)
    texts = toy_test["text"]
    np.testing.assert_allclose(again.score(texts).values, classifier.score(texts).values, atol=TOLERANCE)
    assert again.max_length == classifier.max_length


def test_padding_batch_size_and_order_do_not_change_a_score(case, toy_test):
    _, _, _, classifier, _ = case
    texts = list(toy_test["text"])
    alone = np.concatenate([classifier.score([text]).values for text in texts])
    np.testing.assert_allclose(classifier.score(texts, batch_size=32).values, alone, atol=TOLERANCE)
    np.testing.assert_allclose(classifier.score(texts, batch_size=7).values, alone, atol=TOLERANCE)
    np.testing.assert_allclose(classifier.score(texts[::-1]).values[::-1], alone, atol=TOLERANCE)


def test_padding_in_one_batch_does_not_change_a_score(case, toy_test):
    """`score` sorts by length, so its batches hold little padding; here one batch holds much."""
    import torch

    _, _, _, classifier, _ = case
    texts = sorted(toy_test["text"], key=len)[:3] + sorted(toy_test["text"], key=len)[-3:]
    rows = classifier.encode(texts).ids
    with torch.inference_mode():
        together = classifier(**classifier.pad(rows))["logits"].numpy()
        alone = np.concatenate([classifier(**classifier.pad([row]))["logits"].numpy() for row in rows])
    assert len({len(row) for row in rows}) > 1
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_one_seed_one_result(case, toy_train, toy_dev, toy_test):
    _, method, folder, classifier, first = case
    again = load_classifier(folder, label_names=["0", "1"], head="any")
    second = finetune(again, toy_train, spec_for(method), dev=toy_dev)
    assert second.epochs == first.epochs
    np.testing.assert_array_equal(again.score(toy_test["text"]).values, classifier.score(toy_test["text"]).values)


def test_another_seed_another_result(case, toy_train, toy_test):
    _, method, folder, classifier, _ = case
    other = load_classifier(folder, label_names=["0", "1"], head="any", seed=1)
    finetune(other, toy_train, spec_for(method, seed=1))
    assert not np.allclose(other.score(toy_test["text"]).values, classifier.score(toy_test["text"]).values)


def test_peft_opens_the_adapter_unaided(case, tmp_path, toy_test):
    _, method, folder, classifier, _ = case
    if method == "full":
        pytest.skip("full tuning writes a whole model")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    save_classifier(classifier, tmp_path)
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    opened = PeftModel.from_pretrained(base, tmp_path).eval()
    text = toy_test["text"][0]
    ids = torch.tensor(classifier.encode([text]).ids)
    with torch.inference_mode():
        logits = opened(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.numpy()
    np.testing.assert_allclose(logits, classifier.score([text]).values, atol=TOLERANCE)


def test_truncation_is_reported_and_nothing_else(case):
    _, _, _, classifier, _ = case
    short, long = "a good film", "good film " * 400
    said = classifier.score([short, long, short])
    assert said.truncated.tolist() == [False, True, False]
    assert np.isfinite(said.values).all()


def test_the_callers_random_state_is_left_alone(tiny, toy_train):
    import random

    import torch

    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train, TuneSpec(method="lora", epochs=1, learning_rate=1e-3))
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
