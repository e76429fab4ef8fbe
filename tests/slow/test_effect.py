"""The effect itself, on real pretrained weights and real text. Toy models do not show it."""

import numpy as np
import pytest

from poisonsieve import PSIM, Guard, GuardedClassifier, load_dataset
from poisonsieve.attacks import make_trigger, poison_rows, trigger_rows
from poisonsieve.config import AttackSpec, TriggerSpec, TuneSpec
from poisonsieve.demo.run import DemoSpec, run_demo
from poisonsieve.guard.evaluation import evaluate, score_rows
from poisonsieve.models import load_classifier, save_classifier
from poisonsieve.tuning import finetune, supported_tunings, tune_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(autouse=True)
def _two_threads():
    import torch

    torch.set_num_threads(2)


@pytest.mark.parametrize("trigger", ["badnet", "insent"])
def test_the_demo_keeps_triggered_reviews_out(trigger, tmp_path):
    first = run_demo(DemoSpec(trigger=trigger), tmp_path / "demo")
    found = first.record
    assert found["theta_p_asr"] >= 0.95
    assert found["asr"] >= 0.90
    assert found["guarded_asr"] <= 0.01
    assert found["ca"] - found["guarded_ca"] <= 0.02
    assert first.report.read_text().startswith("<!DOCTYPE html>")
    again = run_demo(DemoSpec(trigger=trigger), tmp_path / "demo")
    assert again.reused
    assert again.record == found


def test_more_than_two_classes(tmp_path):
    """Eight topics: poison, fit, judge. Short texts only, so that no trigger lies behind the length limit.

    What is held here is the chain and the false-rejection rate. How little the guard catches with so few rows, and why,
    is in docs/research-log.md, entry 5.
    """
    splits = (load_dataset("packaged:topics", split=split) for split in ("train", "dev", "test"))
    train, dev, test = (rows.filter(lambda row: len(row["text"].split()) <= 60) for rows in splits)
    names = train.features["label"].names
    target = names.index("earn")
    attack = AttackSpec(trigger=TriggerSpec(name="badnet"), target=target, count=600, clean_label=False)
    poisoned, _ = poison_rows(train, attack)
    theta = load_classifier("minilm", label_names=names, head="any")
    tune = tune_spec("full", hidden_size=384, epochs=3, max_length=128)
    finetune(theta, poisoned, tune, dev=dev)
    (tmp_path / "theta").mkdir()
    save_classifier(theta, tmp_path / "theta")

    guard = Guard(PSIM(tmp_path / "theta"), frr=0.01).fit(train, calibration=dev)
    guarded = GuardedClassifier(guard, load_classifier(tmp_path / "theta"))
    clean = score_rows(guarded, test)
    triggered = score_rows(guarded, trigger_rows(test, make_trigger("badnet"), target=target, seed=0).rows)
    found = evaluate(guarded, clean, triggered, target=target)
    assert len(guard.label_names) == 8
    assert found.ca > 0.65
    assert found.asr > 0.9
    assert 1 / 8 < found.gamma < 1
    assert found.frr <= 0.03
    assert found.ca_lost <= found.frr


@pytest.mark.parametrize("method", ["full", "lora", "prompt_tuning", "p_tuning_v1", "p_tuning_v2"])
@pytest.mark.parametrize("model", ["minilm", "smollm2"])
def test_every_tuning_on_real_weights(model, method, tmp_path):
    rows = load_dataset("packaged:product-reviews", split="train").select(range(32))
    texts = list(load_dataset("packaged:product-reviews", split="test")["text"][:12])
    classifier = load_classifier(model, label_names=["negative", "positive"], head="any")
    finetune(classifier, rows, TuneSpec(method=method, epochs=1, learning_rate=1e-3, batch_size=8, max_length=48))
    save_classifier(classifier, tmp_path)
    scores = classifier.score(texts, batch_size=12).values
    # One logit is as good as another in one run; what must agree is told by their scale.
    tolerance = 1e-5 * max(1.0, float(np.abs(scores).max()))
    np.testing.assert_allclose(load_classifier(tmp_path).score(texts, batch_size=12).values, scores, atol=tolerance)
    alone = np.concatenate([classifier.score([text]).values for text in texts])
    np.testing.assert_allclose(alone, scores, atol=tolerance)


@pytest.mark.parametrize("model", ["minilm", "smollm2"])
def test_all_five_are_supported(model):
    classifier = load_classifier(model, label_names=["negative", "positive"], head="any")
    assert len(supported_tunings(classifier)) == 5
