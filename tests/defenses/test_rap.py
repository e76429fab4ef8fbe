"""RAP beyond what every detector keeps to."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from poisonsieve import Guard, registry
from poisonsieve.config import TuneSpec
from poisonsieve.defenses import RAP
from poisonsieve.errors import CheckpointError, ConfigError
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.tuning import finetune


@pytest.fixture(scope="module", params=["encoder", "decoder"])
def strong(request, tiny, toy_train, tmp_path_factory):
    """A random model with weights so large that every word counts, and both classes are predicted."""
    classifier = load_classifier(tiny(request.param))
    with torch.no_grad():
        for parameter in classifier.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
        if not classifier.is_decoder:
            logits = classifier.score(toy_train["text"]).values
            classifier.base.classifier.bias[0] -= float(np.median(logits[:, 0] - logits[:, 1]))
    folder = tmp_path_factory.mktemp(request.param)
    save_classifier(classifier, folder)
    return folder


@pytest.fixture(scope="module")
def guard(strong, toy_train, toy_dev):
    return Guard(RAP(strong, epochs=10, learning_rate=5e-2), frr=0.05).fit(toy_train, calibration=toy_dev)


def changes_by_hand(folder, guard, texts):
    """The tuned embedding in the model's own matrix, and the word in the text."""
    model = load_classifier(folder, max_length=guard.classifier.max_length + 1)
    before = model.score(texts).probabilities
    weights = model.base.get_input_embeddings().weight.data
    found = []
    for text, row in zip(texts, before, strict=True):
        label = row.argmax()
        weights[guard.detector.word_ids_[0]] = torch.from_numpy(guard.detector.perturbations_[label, 0])
        found.append(model.score([f"cf {text}"]).probabilities[0, label] - row[label])
    return found


def test_the_score_is_what_the_tuned_word_changes(strong, guard, toy_test):
    texts = list(toy_test["text"])[:20]
    expected = changes_by_hand(strong, guard, texts)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(guard.decision_function(texts), expected, atol=1e-5)


def test_the_probability_of_clean_rows_drops_as_asked(strong, toy_train, toy_dev, guard):
    before = Guard(RAP(strong, epochs=1, learning_rate=1e-12), frr=0.05).fit(toy_train, calibration=toy_dev)
    assert guard.detector.tuned_on_.sum() == len(toy_train)
    assert (before.detector.drops_ < 0.08).any()
    assert (guard.detector.drops_ > 0.08).all()
    assert (guard.detector.drops_ < 0.32).all()


def test_the_model_is_left_as_it_was(strong, toy_train, toy_dev, monkeypatch):
    fresh = load_classifier(strong)
    opened = load_classifier(strong)
    monkeypatch.setattr("poisonsieve.defenses.network.load_classifier", lambda *a, **k: opened)
    Guard(RAP(strong, epochs=1), frr=0.05).fit(toy_train, calibration=toy_dev)
    for (name, old), (_, new) in zip(fresh.named_parameters(), opened.named_parameters(), strict=True):
        assert torch.equal(old, new), name
        assert old.requires_grad == new.requires_grad
        assert new.grad is None


def test_a_text_that_holds_the_word_is_read_as_ever(guard):
    """The word may be the attacker's trigger: only the one that was put before the text has the tuned embedding."""
    text = "a cf film"
    classifier = guard.classifier
    label = int(classifier.score([text]).predictions[0])
    inputs = classifier.pad(classifier.encode([f"cf {text}"]).ids)
    embeds = classifier.base.get_input_embeddings()(inputs["input_ids"]).detach().clone()
    embeds[0, guard.detector.place_] = torch.from_numpy(guard.detector.perturbations_[label, 0])
    with torch.inference_mode():
        after = softmax(
            classifier.run(inputs["attention_mask"], inputs_embeds=embeds).logits.double().numpy(), axis=1
        )
    before = classifier.score([text]).probabilities
    np.testing.assert_allclose(guard.decision_function([text])[0], (after - before)[0, label], atol=1e-6)


def test_a_class_that_no_clean_row_is_predicted_as(strong, toy_train, toy_test):
    predictions = load_classifier(strong).score(toy_train["text"]).predictions
    of_one_class = [text for text, label in zip(toy_train["text"], predictions, strict=True) if label == 0]
    guard = Guard(RAP(strong, epochs=1), frr_mean=0.1).fit(of_one_class)
    assert guard.detector.tuned_on_[1] == 0
    assert np.isnan(guard.detector.drops_[1])
    texts = list(toy_test["text"])
    other = guard.classifier.score(texts).predictions == 1
    scores = guard.decision_function(texts)
    assert other.any()
    assert (scores[other] == 1).all()
    assert (scores[~other] < 1).all()
    assert guard.predict(texts)[other].all()


def test_one_seed_one_result(strong, toy_train, toy_dev):
    guards = [
        Guard(RAP(strong, epochs=1, seed=seed), frr=0.05).fit(toy_train, calibration=toy_dev) for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(guards[0].detector.perturbations_, guards[1].detector.perturbations_)
    assert not np.array_equal(guards[0].detector.perturbations_, guards[2].detector.perturbations_)


def test_a_word_of_several_tokens(strong, toy_train, toy_dev, toy_test, tmp_path):
    guard = Guard(RAP(strong, word="cf mn", epochs=1), frr=0.05).fit(toy_train, calibration=toy_dev)
    assert guard.detector.perturbations_.shape == (2, 2, 32)
    guard.save_pretrained(tmp_path / "guard")
    again = Guard.from_pretrained(tmp_path / "guard")
    np.testing.assert_allclose(
        again.decision_function(toy_test["text"]), guard.decision_function(toy_test["text"]), atol=1e-6
    )


def test_the_word_pushes_no_text_out_of_sight(strong, guard):
    """What the guard reads without the word it also reads with it, and the victim is given no more than that."""
    assert guard.classifier.max_length == 47
    longest = " ".join(["film"] * 60)
    assert guard.score([longest]).truncated.tolist() == [True]
    ids = guard.classifier.encode([longest]).ids[0]
    assert len(ids) == 47
    assert np.isfinite(guard.decision_function([longest])).all()


@pytest.mark.parametrize("method", [name for name in registry.names("tuning") if name != "full"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_adapters(kind, method, tiny, toy_train, toy_dev, toy_test, tmp_path):
    victim = load_classifier(tiny(kind))
    few = toy_train.select(range(32))
    finetune(victim, few, TuneSpec(method=method, epochs=1, learning_rate=1e-2, precision="fp32"))
    save_classifier(victim, tmp_path)
    guard = Guard(RAP(tmp_path, epochs=1), frr=0.05).fit(few, calibration=toy_dev)
    texts = list(toy_test["text"])[:8]
    alone = [guard.decision_function([text])[0] for text in texts]
    np.testing.assert_allclose(guard.decision_function(texts), alone, atol=1e-6)
    untouched = torch.from_numpy(np.stack([guard.detector._own_embedding(guard.classifier)] * 8))
    with torch.inference_mode():
        said = guard.detector._perturbed(guard.classifier.encode(texts).ids, untouched).numpy()
    expected = victim.score([f"cf {text}" for text in texts]).values
    np.testing.assert_allclose(said, expected, atol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [{"low": 0.4}, {"low": -0.1}, {"high": 1.5}, {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}],
    ids=str,
)
def test_settings_out_of_range(tiny, toy_train, toy_dev, bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Guard(RAP(tiny("encoder"), **bad), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_a_word_that_cannot_serve(tiny, toy_train, toy_dev):
    with pytest.raises(ConfigError, match="finds nothing"):
        Guard(RAP(tiny("encoder"), word=" "), frr=0.05).fit(toy_train, calibration=toy_dev)
    with pytest.raises(ConfigError, match="too few"):
        Guard(RAP(tiny("encoder"), word="cf " * 46), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_damaged_perturbations_are_refused(guard, tmp_path):
    from safetensors.numpy import save_file

    guard.save_pretrained(tmp_path / "guard")
    path = tmp_path / "guard" / "perturbations.safetensors"
    save_file({"perturbations": np.zeros((2, 1, 7), dtype=np.float32)}, path)
    with pytest.raises(CheckpointError, match="another shape"):
        Guard.from_pretrained(tmp_path / "guard")
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Guard.from_pretrained(tmp_path / "guard")
