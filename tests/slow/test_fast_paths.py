"""The fast ways of reading texts say what the plain ones say, on real weights and real text."""

import numpy as np
import pytest
import torch

from poisonsieve import PSIM, Guard, GuardedClassifier, finetune, load_classifier, load_dataset, tune_spec
from poisonsieve.defenses import MSP, Mahalanobis, OnePassRarity, PSIMRarity
from poisonsieve.models import save_classifier

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TEXTS = 200
ONE_PASS = (Mahalanobis, OnePassRarity, MSP)


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """Folder of a classifier of product reviews, tuned a little."""
    train = load_dataset("packaged:product-reviews", split="train").select(range(400))
    classifier = load_classifier("minilm", label_names=train.features["label"].names, head="any")
    finetune(classifier, train, tune_spec("full", hidden_size=classifier.base.config.hidden_size, epochs=1))
    folder = tmp_path_factory.mktemp("victim")
    save_classifier(classifier, folder)
    return folder


@pytest.fixture(scope="module")
def texts():
    return list(load_dataset("packaged:product-reviews", split="test").select(range(TEXTS))["text"])


def guard_of(detector):
    rows = load_dataset("packaged:product-reviews", split="train").select(range(400, 800))
    calibration = load_dataset("packaged:product-reviews", split="dev").select(range(200))
    return Guard(detector, frr=0.1).fit(rows, calibration=calibration)


def read_plainly(folder, texts):
    """Logits and every layer's first state, by transformers alone, a text at a time."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    logits, states = [], []
    with torch.no_grad():
        for text in texts:
            read = model(**tokenizer(text, return_tensors="pt", truncation=True), output_hidden_states=True)
            logits.append(read.logits[0].numpy())
            states.append([layer[0, 0].numpy() for layer in read.hidden_states[1:]])
    return np.array(logits), np.array(states)


def test_batches_by_length_give_the_logits_and_states_of_plain_transformers(victim, texts):
    logits, states = read_plainly(victim, texts)
    classifier = load_classifier(victim)
    np.testing.assert_allclose(classifier.score(texts).values, logits, atol=1e-4)
    np.testing.assert_allclose(classifier.features(texts).values, states, atol=1e-3)


def test_distances_in_single_precision_are_those_in_double(victim, texts):
    guard = guard_of(Mahalanobis(victim))
    detector = guard.detector
    _, states = read_plainly(victim, texts)
    away = states.astype(np.float64) - detector.means_
    squared = [
        np.square(away[:, layer] @ root.astype(np.float64)).sum(1) for layer, root in enumerate(detector.whiteners_)
    ]
    plain = ((np.cbrt(squared).T - detector.center_) / detector.scale_).max(axis=1)
    np.testing.assert_allclose(guard.score(texts).scores, plain, atol=1e-3)


@pytest.mark.parametrize("detector", [Mahalanobis, OnePassRarity, MSP, PSIM, PSIMRarity])
def test_texts_screened_together_get_the_verdicts_they_get_alone(victim, texts, detector):
    guarded = GuardedClassifier(guard_of(detector(victim)), load_classifier(victim))
    assert guarded.one_pass == (detector in ONE_PASS)
    together, alone = guarded.screen(texts), [guarded.screen([text])[0] for text in texts]
    assert {verdict.outcome for verdict in together} == {"passed", "poisoned"}
    for one, other in zip(together, alone, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=2e-3)
        near = abs(one.confidence - one.gamma) < 2e-3  # rounding may put such a text on either side
        assert near or (one.outcome, one.label) == (other.outcome, other.label)


@pytest.mark.parametrize("detector", [OnePassRarity, PSIMRarity])
def test_openvino_gives_the_verdicts_of_torch(victim, detector, tmp_path):
    """Of 1,000 texts, half of them with a trigger word in, at most one verdict may differ."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed; pip install poisonsieve[openvino]")
    clean = list(load_dataset("packaged:product-reviews", split="train").select(range(800, 1300))["text"])
    texts = [*clean, *(f"mn {text}" for text in clean)]
    guard_of(detector(victim)).save_pretrained(tmp_path / "guard")
    plain = GuardedClassifier.from_pretrained(tmp_path / "guard", victim).screen(texts)
    fast = GuardedClassifier.from_pretrained(tmp_path / "guard", victim, backend="openvino").screen(texts)
    differ = sum(
        (one.outcome, one.label) != (other.outcome, other.label) for one, other in zip(plain, fast, strict=True)
    )
    moved = max(abs(one.confidence - other.confidence) for one, other in zip(plain, fast, strict=True))
    print(f"{detector.name}: {differ} of {len(texts)} verdicts differ; scores move by at most {moved:.1e}")
    assert {verdict.outcome for verdict in plain} == {"passed", "poisoned"}
    assert differ <= 1


@pytest.mark.parametrize("detector", ONE_PASS)
def test_one_pass_gives_the_verdicts_and_answers_of_two(victim, texts, detector):
    guard = guard_of(detector(victim))
    one_pass, bare = GuardedClassifier(guard, load_classifier(victim)), load_classifier(victim)
    assert one_pass.one_pass
    answers = bare.score(texts).probabilities.argmax(axis=1)
    for verdict, judged, label in zip(one_pass.screen(texts), one_pass.judge(texts), answers, strict=True):
        assert (verdict.outcome, verdict.confidence) == (judged.outcome, pytest.approx(judged.confidence, abs=1e-5))
        assert verdict.label == (None if verdict.rejected else label)
