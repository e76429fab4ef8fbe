"""Feature shift: what changes places, what is trained, and going on after a kill."""

import numpy as np
import pytest
import torch

from conftest import make_decoder
from poisonsieve.config import TuneSpec
from poisonsieve.defenses import FeatureShift, feature_shift
from poisonsieve.defenses.feature_shift import LowerLayers, change_places
from poisonsieve.errors import ConfigError
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.tuning import finetune

FAST = {"learning_rate": 5e-3, "precision": "fp32"}


@pytest.fixture(scope="module")
def theta_p(tiny, toy_train, tmp_path_factory):
    """A model that has learnt the task."""
    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train, TuneSpec(method="full", epochs=12, **FAST))
    folder = tmp_path_factory.mktemp("theta_p")
    save_classifier(classifier, folder)
    return folder


def weights_of(classifier):
    return {name: weight.detach().clone() for name, weight in classifier.base.named_parameters()}


@pytest.mark.parametrize("make", [lambda tiny: tiny("encoder", labels=3), lambda tiny: tiny("decoder")])
def test_each_class_is_read_where_the_next_one_was(tiny, make, toy_test):
    classifier = load_classifier(make(tiny))
    before = classifier.score(toy_test["text"]).values
    change_places(classifier)
    np.testing.assert_allclose(classifier.score(toy_test["text"]).values, np.roll(before, -1, axis=1), atol=1e-5)


def test_only_embeddings_and_lower_layers_are_trained(theta_p, toy_train):
    classifier = load_classifier(theta_p)
    change_places(classifier)
    before, lower = weights_of(classifier), LowerLayers(classifier, 0.5)
    finetune(classifier, toy_train, TuneSpec(method="full", epochs=1, **FAST), objective=lower)
    changed = {name for name, weight in weights_of(classifier).items() if not torch.equal(weight, before[name])}
    assert lower.frozen_layers == 1
    assert {"bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.weight"} <= changed
    assert all(name.startswith(("bert.embeddings.word_embeddings.", "bert.encoder.layer.0.")) for name in changed)
    assert all(weight.requires_grad for weight in classifier.parameters())


def test_the_task_is_learnt_again(theta_p, toy_train, toy_dev):
    repaired, facts = FeatureShift(epochs=2, settling_epochs=12, **FAST).repair(theta_p, toy_train, toy_dev)
    assert facts["dev_ca"] > 0.9
    assert facts["held"] == (facts["dev_ca"] >= facts["reference_dev_ca"] - 0.01 - 1e-9)
    assert [len(facts[part]["epochs"]) for part in ("shifting", "training")] == [2, 12]
    assert repaired.label_names == ["0", "1"]


def test_what_clean_rows_do_not_reach_changes_its_class(theta_p, toy_train, toy_dev):
    """Nothing but the head changes without learning: every text is answered by the other class."""
    repaired, facts = FeatureShift(epochs=1, settling_epochs=1, learning_rate=1e-12).repair(
        theta_p, toy_train, toy_dev
    )
    assert facts["dev_ca"] == pytest.approx(1 - facts["reference_dev_ca"])
    assert not facts["held"]
    before = load_classifier(theta_p).score(toy_dev["text"]).predictions
    np.testing.assert_array_equal(repaired.score(toy_dev["text"]).predictions, 1 - before)


def test_a_killed_run_goes_on_where_it_was(theta_p, toy_train, toy_dev, toy_test, tmp_path, monkeypatch):
    repair = FeatureShift(epochs=2, settling_epochs=1, **FAST)
    whole, _ = repair.repair(theta_p, toy_train, toy_dev)
    train, begun = feature_shift.finetune, []

    def killed(*args, **kwargs):
        begun.append(kwargs["workdir"].name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    monkeypatch.setattr(feature_shift, "finetune", killed)
    with pytest.raises(KeyboardInterrupt):
        repair.repair(theta_p, toy_train, toy_dev, workdir=tmp_path)
    repaired, facts = repair.repair(theta_p, toy_train, toy_dev, workdir=tmp_path)
    assert begun == ["shifting", "settling"] * 2
    assert facts["shifting"]["resumed_from"] == 2
    np.testing.assert_array_equal(repaired.score(toy_test["text"]).values, whole.score(toy_test["text"]).values)


def test_a_decoder_is_repaired_too(toy_train, toy_dev, tmp_path):
    repaired, facts = FeatureShift(epochs=1, settling_epochs=1).repair(make_decoder(tmp_path), toy_train, toy_dev)
    assert facts["frozen_layers"] == 1
    assert repaired.is_decoder


@pytest.mark.parametrize(
    "arguments", [{"frozen": 0.0}, {"frozen": 1.0}, {"max_ca_drop": -0.1}, {"epochs": 0}, {"settling_epochs": 0}]
)
def test_settings_out_of_range(arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        FeatureShift(**arguments)
