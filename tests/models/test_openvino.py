"""Passes computed by OpenVINO: the numbers of torch, failures that reject, and one line on what cannot be."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from poisonsieve import PSIM, Guard, GuardedClassifier, finetune, load_classifier
from poisonsieve.config import TuneSpec
from poisonsieve.defenses import MSP, Cascade, Mahalanobis, OnePassRarity, PSIMRarity
from poisonsieve.errors import ConfigError, PoisonsieveWarning, UnsupportedError
from poisonsieve.models import openvino
from poisonsieve.models.layout import sample_rows

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="OpenVINO is not installed; pip install poisonsieve[openvino]",
)
TUNINGS = [(kind, name) for kind in ("encoder", "decoder") for name in ("lora", "prompt_tuning", "p_tuning_v1")]
TEXTS = ["a good film", "bad", "", "the very fine story of a film", "good " * 400, "a plot"]


def same(found, wanted):
    assert found.errors == wanted.errors
    np.testing.assert_array_equal(found.truncated, wanted.truncated)
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-5)


@needs_openvino
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_logits_and_states_are_those_of_torch(kind, tiny):
    plain, compiled = load_classifier(tiny(kind)), load_classifier(tiny(kind)).compute_with("openvino")
    assert compiled.compiled is not None
    same(compiled.score(TEXTS), plain.score(TEXTS))
    for pooling in ("mean", "last"):
        same(compiled.features(TEXTS, pooling=pooling), plain.features(TEXTS, pooling=pooling))


@needs_openvino
def test_a_text_whose_logits_are_all_near_zero_is_beside_the_others_only_rounding(tiny):
    classifier = load_classifier(tiny("encoder"))
    undecided = classifier.pad([sample_rows(classifier)[0]])
    with torch.inference_mode():
        head = classifier.base.classifier
        head.bias -= classifier.run(undecided["attention_mask"], input_ids=undecided["input_ids"]).logits[0]
    assert classifier.compute_with("openvino").compiled is not None


@needs_openvino
@pytest.mark.parametrize(("kind", "method"), TUNINGS)
def test_tunings(kind, method, tiny, toy_train):
    classifier = load_classifier(tiny(kind))
    finetune(classifier, toy_train, TuneSpec(method=method, epochs=1, learning_rate=1e-2, precision="fp32"))
    wanted, states = classifier.score(TEXTS), classifier.features(TEXTS)
    classifier.compute_with("openvino")
    same(classifier.score(TEXTS), wanted)
    same(classifier.features(TEXTS), states)


@needs_openvino
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_prefixes_are_refused(kind, tiny, toy_train):
    """OpenVINO cannot convert the cache that PEFT passes them in."""
    classifier = load_classifier(tiny(kind))
    finetune(classifier, toy_train, TuneSpec(method="p_tuning_v2", epochs=1, learning_rate=1e-2, precision="fp32"))
    with pytest.raises(UnsupportedError, match="OpenVINO cannot convert it"):
        classifier.compute_with("openvino")
    assert classifier.score(TEXTS[:2]).errors == [None, None]


@needs_openvino
@pytest.mark.parametrize("detector", [PSIM, PSIMRarity, OnePassRarity, Mahalanobis, MSP, Cascade])
def test_guards_give_the_same_verdicts(detector, tiny, toy_train, toy_dev, toy_test, tmp_path):
    Guard(detector(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev).save_pretrained(tmp_path / "guard")
    plain = GuardedClassifier.from_pretrained(tmp_path / "guard", tiny("encoder"))
    fast = GuardedClassifier.from_pretrained(tmp_path / "guard", tiny("encoder"), backend="openvino")
    assert fast.one_pass == plain.one_pass
    assert all(network.compiled for network in [fast.victim, *fast.guard.detector.networks])
    texts = [*toy_test["text"], "", "good " * 400]
    for one, other in zip(fast.screen(texts), plain.screen(texts), strict=True):
        assert (one.outcome, one.label, one.truncated) == (other.outcome, other.label, other.truncated)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-2)  # rarities have long tails


@needs_openvino
def test_a_pass_that_fails_rejects(tiny, monkeypatch):
    classifier = load_classifier(tiny("encoder")).compute_with("openvino")

    def fail(*_):
        raise RuntimeError("a good film")

    monkeypatch.setattr(classifier.compiled, "_run", fail)
    said = classifier.score(["a good film", "bad"])
    assert said.errors == ["model failed: RuntimeError"] * 2
    assert np.isnan(said.values).all()


@needs_openvino
def test_threads_do_not_disturb_each_other(tiny):
    classifier = load_classifier(tiny("encoder")).compute_with("openvino")
    texts = [["good " * count] * 5 for count in range(1, 30)]
    wanted = [classifier.score(each).values for each in texts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: classifier.score(each).values, texts))
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(wanted), atol=1e-6)


@needs_openvino
def test_other_numbers_than_torch_are_refused(tiny, monkeypatch):
    compile_ = openvino.OpenVINOPass._compile

    def shifted(self, plain):
        compiled = compile_(self, plain)
        return lambda inputs: [output + 0.01 for output in compiled(inputs).values()]

    monkeypatch.setattr(openvino.OpenVINOPass, "_compile", shifted)
    with pytest.raises(UnsupportedError, match="other numbers than torch does; leave --backend openvino out"):
        load_classifier(tiny("encoder")).compute_with("openvino")


@needs_openvino
def test_a_network_that_cannot_be_converted_is_refused_in_one_line(tiny, monkeypatch):
    classifier = load_classifier(tiny("encoder"))

    def strange(*_, **__):
        raise TypeError("an operation that nobody knows\nand more")

    monkeypatch.setattr(type(classifier), "run", strange)
    with pytest.raises(UnsupportedError, match=r"cannot convert it \(RuntimeError\); leave --backend"):
        classifier.compute_with("openvino")
    assert classifier.compiled is None


@needs_openvino
def test_nothing_is_reported_to_anybody(tiny, monkeypatch):
    import openvino_telemetry

    def report(*_, **__):
        raise AssertionError("a report was begun")

    monkeypatch.setattr(openvino_telemetry.Telemetry, "init", report)
    assert load_classifier(tiny("encoder")).compute_with("openvino").compiled is not None


@needs_openvino
def test_training_goes_on_in_torch(tiny, toy_train):
    classifier = load_classifier(tiny("encoder")).compute_with("openvino")
    before = classifier.score(TEXTS).values
    finetune(classifier, toy_train, TuneSpec(method="full", epochs=1, learning_rate=1e-2, precision="fp32"))
    assert classifier.compiled is None
    after = classifier.score(TEXTS)
    assert np.abs(after.values - before).max() > 0.01
    same(classifier.compute_with("openvino").score(TEXTS), after)


@needs_openvino
def test_a_detector_without_a_classifier_says_that_it_stays_with_torch(planted_guard, monkeypatch):
    guard = Guard.from_pretrained(planted_guard)
    monkeypatch.setattr(type(guard.detector), "networks", [])
    with pytest.warns(PoisonsieveWarning, match="its work stays with torch"):
        guard.compute_with("openvino")


@pytest.mark.parametrize("open_", [Guard.from_pretrained, GuardedClassifier.from_pretrained])
def test_what_is_asked_for_is_checked_before_anything_is_opened(open_, planted_guard, monkeypatch):
    with pytest.raises(ConfigError, match="choose torch or openvino"):
        open_(planted_guard, backend="onnx")
    monkeypatch.setattr(openvino.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"install poisonsieve\[openvino\]"):
        open_(planted_guard, backend="openvino")
