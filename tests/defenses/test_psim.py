"""PSIM beyond what every detector keeps to."""

import json
import shutil

import numpy as np
import pytest

from poisonsieve import PSIM, Guard, registry
from poisonsieve.config import TuneSpec
from poisonsieve.defenses.psim import random_labels
from poisonsieve.errors import CheckpointError, UnsupportedError
from poisonsieve.guard import make_guard
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.tuning import finetune


def test_every_class_is_drawn_about_equally_often():
    labels = random_labels(9000, 3, seed=0)
    assert labels.shape == (9000,)
    assert np.abs(np.bincount(labels, minlength=3) / 9000 - 1 / 3).max() < 0.02
    assert not np.array_equal(labels, random_labels(9000, 3, seed=1))
    np.testing.assert_array_equal(labels, random_labels(9000, 3, seed=0))


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("method", registry.names("tuning"))
def test_every_tuning_makes_a_guard(kind, method, tiny, toy_train, toy_dev, toy_test, tmp_path):
    guard = Guard(PSIM(tiny(kind), method=method, precision="fp32"), frr=0.05).fit(toy_train, calibration=toy_dev)
    guard.save_pretrained(tmp_path / "guard")
    again = Guard.from_pretrained(tmp_path / "guard")
    texts = toy_test["text"]
    np.testing.assert_allclose(again.decision_function(texts), guard.decision_function(texts), atol=1e-5)
    assert again.detector.spec_ == guard.detector.spec_


def test_confidence_is_the_largest_softmax_probability(tiny, toy_train, toy_dev, toy_test):
    guard = Guard(PSIM(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)
    logits = guard.classifier.score(toy_test["text"]).values
    expected = 1 / (1 + np.exp(-np.abs(logits[:, 0] - logits[:, 1])))
    np.testing.assert_allclose(guard.decision_function(toy_test["text"]), expected, rtol=1e-12)


def test_training_labels_are_not_the_true_ones(tiny, toy_train, toy_dev, toy_test):
    """Labels play no part: a data set with its labels turned around gives the same guard."""
    import datasets

    turned = datasets.Dataset.from_dict(
        {"text": list(toy_train["text"]), "label": [1 - label for label in toy_train["label"]]},
        features=toy_train.features,
    )
    guards = [Guard(PSIM(tiny("encoder")), frr=0.05).fit(data, calibration=toy_dev) for data in (toy_train, turned)]
    scores = [guard.decision_function(toy_test["text"]) for guard in guards]
    np.testing.assert_array_equal(*scores)


def test_the_papers_settings(tiny):
    guard = make_guard("psim", preset="paper", model=tiny("encoder"))
    psim = guard.detector
    assert psim.get_params() == PSIM.paper(tiny("encoder")).get_params()
    assert (psim.method, psim.learning_rate, psim.epochs, psim.batch_size) == ("p_tuning_v1", 2e-5, 1, 32)
    assert (psim.virtual_tokens, psim.encoder_hidden, guard.gamma) == (5, 128, 0.7)


def test_a_checkpoint_without_a_head_is_refused_with_advice(tiny, toy_train):
    with pytest.raises(CheckpointError, match=r"no trained classification head.*poisonsieve tune"):
        Guard(PSIM(tiny("encoder", head=False)), frr=0.1).fit(toy_train)


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "p_tuning_v1", "p_tuning_v2"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_fit_goes_on_from_an_adapter(kind, method, tiny, toy_train, toy_dev, toy_test, tmp_path):
    """Before any training step, the guard of an adapter is the adapter."""
    base = tiny(kind, head=False)
    victim = load_classifier(base, label_names=["0", "1"], head="any")
    finetune(victim, toy_train, TuneSpec(method=method, epochs=1, learning_rate=1e-2, precision="fp32"))
    (tmp_path / "victim").mkdir()
    save_classifier(victim, tmp_path / "victim")

    still = Guard(PSIM(tmp_path / "victim", learning_rate=1e-12, precision="fp32"), frr=0.05)
    still.fit(toy_train, calibration=toy_dev)
    texts = toy_test["text"]
    np.testing.assert_allclose(still.classifier.score(texts).values, victim.score(texts).values, atol=1e-4)

    guard = Guard(PSIM(tmp_path / "victim", learning_rate=1e-2, precision="fp32"), frr=0.05)
    guard.fit(toy_train, calibration=toy_dev)
    assert not np.allclose(guard.classifier.score(texts).values, victim.score(texts).values, atol=1e-3)
    guard.save_pretrained(tmp_path / "guard")
    again = Guard.from_pretrained(tmp_path / "guard")
    np.testing.assert_allclose(again.decision_function(texts), guard.decision_function(texts), atol=1e-5)


def test_an_adapter_goes_on_with_its_own_method_only(tiny, toy_train, toy_dev, tmp_path):
    victim = load_classifier(tiny("encoder"))
    finetune(victim, toy_train, TuneSpec(method="lora", epochs=1, learning_rate=1e-3))
    save_classifier(victim, tmp_path)
    with pytest.raises(UnsupportedError, match="is a lora adapter"):
        Guard(PSIM(tmp_path, method="p_tuning_v1"), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_another_base_is_refused_by_digest(tiny, toy_train, toy_dev, tmp_path):
    from conftest import make_encoder

    base = make_encoder(tmp_path / "base", seed=0)
    Guard(PSIM(base), frr=0.05).fit(toy_train, calibration=toy_dev).save_pretrained(tmp_path / "guard")
    Guard.from_pretrained(tmp_path / "guard")
    other = make_encoder(tmp_path / "other", seed=5)
    with pytest.raises(CheckpointError, match="is not the base"):
        Guard.from_pretrained(tmp_path / "guard", base=other)
    shutil.rmtree(base)
    make_encoder(base, seed=5)
    with pytest.raises(CheckpointError, match="is not the base"):
        Guard.from_pretrained(tmp_path / "guard")


def test_a_base_that_moved_can_be_pointed_to(toy_train, toy_dev, toy_test, tmp_path):
    from conftest import make_encoder

    guard = Guard(PSIM(make_encoder(tmp_path / "base")), frr=0.05).fit(toy_train, calibration=toy_dev)
    guard.save_pretrained(tmp_path / "guard")
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="--base"):
        Guard.from_pretrained(tmp_path / "guard")
    again = Guard.from_pretrained(tmp_path / "guard", base=tmp_path / "moved")
    texts = toy_test["text"]
    np.testing.assert_allclose(again.decision_function(texts), guard.decision_function(texts), atol=1e-6)


def test_an_unknown_option_is_not_swallowed(tiny, toy_train, toy_dev, tmp_path):
    Guard(PSIM(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev).save_pretrained(tmp_path / "guard")
    with pytest.raises(TypeError, match="tempreature"):
        Guard.from_pretrained(tmp_path / "guard", tempreature=1)


def test_guard_json_names_base_and_tuning(tiny, toy_train, toy_dev, tmp_path):
    from poisonsieve.models.safety import weights_digest

    base = tiny("encoder")
    Guard(PSIM(base), frr=0.05).fit(toy_train, calibration=toy_dev).save_pretrained(tmp_path / "guard")
    said = json.loads((tmp_path / "guard" / "guard.json").read_text())
    assert said["base"] == {"source": str(base), "sha256": weights_digest(base)}
    assert said["tuning"]["method"] == "p_tuning_v1"
    assert said["label_names"] == ["0", "1"] or said["label_names"] == ["LABEL_0", "LABEL_1"]
