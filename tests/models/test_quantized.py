"""Base models frozen in 4 bits: by bitsandbytes, on the processor."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest

from conftest import make_decoder, make_encoder
from poisonsieve import Guard
from poisonsieve.config import AttackSpec, PoisoningSpec, TriggerSpec
from poisonsieve.defenses import PSIM
from poisonsieve.errors import CheckpointError, UnsupportedError
from poisonsieve.guard import GuardedClassifier
from poisonsieve.models import load_classifier
from poisonsieve.models.load import save_classifier
from poisonsieve.models.merging import merged
from poisonsieve.stages.train import poison_stage, tune_stage
from poisonsieve.tuning.presets import spec_maker


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A decoder of a width that bitsandbytes can pack."""
    return make_decoder(tmp_path_factory.mktemp("wide"), width=128)


@pytest.fixture(scope="module")
def theta_p(wide, toy_train, toy_dev, tmp_path_factory):
    attack = AttackSpec(trigger=TriggerSpec.parse("badnet"), target=0, count=30)
    out = tmp_path_factory.mktemp("theta_p") / "model"
    make_spec = spec_maker("lora", epochs=4, learning_rate=1e-2, batch_size=16, precision="fp32")
    return poison_stage(str(wide), toy_train, toy_dev, attack, make_spec, out, bits=4)


def kinds(classifier):
    return {name.rpartition(".")[2]: type(module).__name__ for name, module in classifier.named_modules()}


def test_the_base_is_rounded_and_the_head_is_not(wide, toy_test):
    plain, rounded = load_classifier(wide), load_classifier(wide, bits=4)
    assert (plain.provenance.bits, rounded.provenance.bits) == (None, 4)
    assert kinds(rounded)["q_proj"] == "Linear4bit"
    assert kinds(rounded)["score"] == "Linear"
    there, near = (each.score(toy_test["text"]).values for each in (plain, rounded))
    assert not np.allclose(there, near, atol=1e-4)
    assert np.corrcoef(there.ravel(), near.ravel())[0, 1] > 0.9


def test_theta_p_is_a_whole_model_that_everybody_opens_in_4_bits(theta_p, wide, toy_train, toy_test):
    assert theta_p.result["training"]["trained_weights"] < 20_000
    assert not (theta_p.out / "adapter_config.json").exists()
    assert json.loads((theta_p.out / "poisonsieve.json").read_text())["bits"] == 4
    opened = load_classifier(theta_p.out)
    assert opened.provenance.bits == 4
    assert kinds(opened)["q_proj"] == "Linear4bit"
    learned = opened.score(toy_train["text"]).predictions == np.array(toy_train["label"])
    assert learned.mean() > 0.9  # what LoRA learned is in the weights
    assert (
        load_classifier(wide, bits=4).score(toy_train["text"]).predictions == np.array(toy_train["label"])
    ).mean() < 0.8


def test_victim_and_guard_stand_on_the_same_rounded_weights(theta_p, toy_train, toy_dev, toy_test, tmp_path):
    make_spec = spec_maker("lora", epochs=1, batch_size=16, precision="fp32")
    victim = tune_stage(str(theta_p.out), toy_train, toy_dev, make_spec, tmp_path / "victim")
    guard = Guard(PSIM(str(theta_p.out)), frr=0.05).fit(toy_train, calibration=toy_dev)
    guard.save_pretrained(tmp_path / "guard")
    guarded = GuardedClassifier.from_pretrained(tmp_path / "guard", victim.out)
    assert (guarded.victim.provenance.bits, guarded.guard.classifier.provenance.bits) == (4, 4)
    texts = list(toy_test["text"])
    np.testing.assert_allclose(guarded.guard.decision_function(texts), guard.decision_function(texts), atol=1e-6)
    assert all(verdict.confidence is not None for verdict in guarded.screen(texts))


def test_merged_it_says_nearly_what_the_adapter_said(theta_p, wide, toy_train, toy_dev, toy_test, tmp_path):
    make_spec = spec_maker("lora", epochs=2, learning_rate=1e-2, batch_size=16, precision="fp32")
    tuned = tune_stage(str(theta_p.out), toy_train, toy_dev, make_spec, tmp_path / "tuned")
    adapter = load_classifier(tuned.out)
    whole = merged(adapter)
    assert not whole.is_peft
    assert kinds(whole)["q_proj"] == "Linear"
    before, after = (each.score(toy_test["text"]).values for each in (adapter, whole))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.99
    assert (before.argmax(1) == after.argmax(1)).mean() > 0.9


def test_an_encoder_keeps_its_pooler_and_head_as_they_are(tmp_path):
    classifier = load_classifier(make_encoder(tmp_path, width=128), bits=4)
    kept = {name: type(module).__name__ for name, module in classifier.base.named_modules()}
    assert (kept["bert.pooler.dense"], kept["classifier"]) == ("Linear", "Linear")
    assert kept["bert.encoder.layer.0.attention.self.query"] == "Linear4bit"


def test_an_adapter_of_another_tool_is_opened_as_its_base_says(theta_p, toy_train, toy_dev, tmp_path):
    make_spec = spec_maker("lora", epochs=1, batch_size=16, precision="fp32")
    victim = tune_stage(str(theta_p.out), toy_train, toy_dev, make_spec, tmp_path / "victim").out
    (victim / "poisonsieve.json").unlink()
    opened = load_classifier(victim, label_names=["negative", "positive"])
    assert (opened.provenance.bits, kinds(opened)["gate_proj"]) == (4, "Linear4bit")
    assert opened.is_loaded_in_4bit  # the Trainer would copy it to every GPU otherwise


def test_a_base_that_was_replaced_meanwhile_is_noticed(theta_p, toy_train, toy_dev, tmp_path):
    make_spec = spec_maker("lora", epochs=1, batch_size=16, precision="fp32")
    adapter = load_classifier(tune_stage(str(theta_p.out), toy_train, toy_dev, make_spec, tmp_path / "tuned").out)
    adapter.provenance = replace(adapter.provenance, base_digest="of other weights")
    with pytest.raises(CheckpointError, match="holds other weights than when"):
        merged(adapter)


def test_a_poisoning_that_changes_weights_by_itself_is_refused(wide, toy_train, toy_dev, tmp_path):
    surgery = PoisoningSpec.parse("ripple")
    attack = AttackSpec(trigger=TriggerSpec.parse("badnet"), target=0, count=30, weights=surgery)
    with pytest.raises(UnsupportedError, match="cannot be poisoned by ripple"):
        poison_stage(str(wide), toy_train, toy_dev, attack, spec_maker("lora"), tmp_path / "out", bits=4)


@pytest.mark.parametrize("method", ["full", "prompt_tuning"])
def test_what_cannot_be_merged_is_refused_before_training(method, wide, toy_train, toy_dev, tmp_path):
    attack = AttackSpec(trigger=TriggerSpec.parse("badnet"), target=0, count=30)
    with pytest.raises(
        UnsupportedError,
        match=f"cannot be poisoned by {method}; use plain LoRA, which can be merged into its weights",
    ):
        poison_stage(str(wide), toy_train, toy_dev, attack, spec_maker(method, epochs=1), tmp_path / "out", bits=4)
    assert not (tmp_path / "out").exists()


def test_full_tuning_of_what_is_frozen_is_refused(theta_p, toy_train, toy_dev, tmp_path):
    with pytest.raises(UnsupportedError, match="frozen in 4 bits, which full tuning cannot train; choose lora"):
        tune_stage(str(theta_p.out), toy_train, toy_dev, spec_maker("full", epochs=1), tmp_path / "victim")


def test_a_whole_model_in_4_bits_is_not_written(wide, tmp_path):
    with pytest.raises(UnsupportedError, match="keep its folder"):
        save_classifier(load_classifier(wide, bits=4), tmp_path)


def test_bits_are_4_and_need_a_package(wide, monkeypatch):
    with pytest.raises(CheckpointError, match="in 4 bits or as it is, not in 8"):
        load_classifier(wide, bits=8)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(UnsupportedError, match=r"poisonsieve\[quantize\]"):
        load_classifier(wide, bits=4)
