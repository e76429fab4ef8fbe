"""A guard that was fitted on the victim itself takes score and answer from one pass, and says the same as with two."""

import numpy as np
import pytest

from poisonsieve import Guard, GuardedClassifier, load_classifier
from poisonsieve.defenses import DAN, MSP, PSIM, Mahalanobis, OnePassRarity

DETECTORS = {"mahalanobis": Mahalanobis, "dan": DAN, "msp": MSP, "rarity": OnePassRarity}


@pytest.fixture(scope="module", params=DETECTORS)
def guard(request, tiny, toy_train, toy_dev):
    return Guard(DETECTORS[request.param](tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_one_pass_a_text(guard, tiny, toy_test):
    guarded = GuardedClassifier(guard, load_classifier(tiny("encoder")))
    assert guarded.one_pass
    rows = []
    counting = guarded.victim.network.register_forward_hook(lambda _, __, said: rows.append(len(said.logits)))
    guarded.screen(toy_test["text"])
    counting.remove()
    assert sum(rows) == len(toy_test)


def test_it_says_what_two_passes_say(guard, tiny, toy_test):
    texts = [*toy_test["text"], "", "good " * 400]
    guarded = GuardedClassifier(guard, load_classifier(tiny("encoder")))
    once = guarded.screen(texts)
    twice = guarded.answer(texts, guarded.judge(texts))
    assert [verdict.outcome for verdict in once] == [verdict.outcome for verdict in twice]
    assert [verdict.label for verdict in once] == [verdict.label for verdict in twice]
    assert {verdict.outcome for verdict in once} == {"passed", "poisoned", "not_scored"}
    assert [verdict.cause for verdict in once if verdict.outcome == "not_scored"] == ["empty"]
    for one, two in zip(once, twice, strict=True):
        assert (one.cause, one.truncated, one.label_name) == (two.cause, two.truncated, two.label_name)
        assert one.confidence == pytest.approx(two.confidence, abs=1e-4)
        assert one.score == pytest.approx(two.score, abs=1e-6)


def test_what_is_rejected_is_not_answered(guard, tiny, toy_test):
    guarded = GuardedClassifier(guard, load_classifier(tiny("encoder")))
    rejected = [verdict for verdict in guarded.screen(toy_test["text"]) if verdict.rejected]
    assert rejected
    assert {(verdict.label, verdict.label_name, verdict.score) for verdict in rejected} == {(None, None, None)}


def test_saved_and_opened_with_its_victim_it_is_one_pass(guard, tiny, tmp_path, toy_test):
    guard.save_pretrained(tmp_path / "guard")
    opened = GuardedClassifier.from_pretrained(tmp_path / "guard", tiny("encoder"))
    assert opened.one_pass
    before = GuardedClassifier(guard, load_classifier(tiny("encoder"))).screen(toy_test["text"])
    after = opened.screen(toy_test["text"])
    assert [verdict.outcome for verdict in after] == [verdict.outcome for verdict in before]


def test_another_model_or_limit_takes_two(tiny, toy_train, toy_dev):
    guard = Guard(Mahalanobis(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)
    assert not GuardedClassifier(guard).one_pass
    assert not GuardedClassifier(guard, load_classifier(tiny("encoder"), max_length=8)).one_pass
    psim = Guard(PSIM(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)
    assert not GuardedClassifier(psim, load_classifier(tiny("encoder"))).one_pass


def test_the_layer_that_lies_farthest_decides(tiny, toy_train, toy_dev, toy_test):
    detector = Guard(Mahalanobis(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev).detector
    expected = []
    for states in detector.classifier.features(toy_test["text"]).values.astype(np.float64):
        roots = [
            np.linalg.norm((state - mean) @ whitens) ** (2 / 3)
            for state, mean, whitens in zip(states, detector.means_, detector.whiteners_, strict=True)
        ]
        expected.append(max((np.array(roots) - detector.center_) / detector.scale_))
    np.testing.assert_allclose(detector.score(toy_test["text"]).scores, expected, atol=1e-4)
