"""A cheap detector settles the clear cases, and a dearer one is asked about the rest, under one rate."""

import json

import numpy as np
import pytest

from poisonsieve import Guard, GuardedClassifier, load_classifier
from poisonsieve.defenses import PSIM, Cascade, Mahalanobis
from poisonsieve.errors import CheckpointError, ConfigError
from poisonsieve.models import save_classifier

OF = "mahalanobis+psim"


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    """A classifier that stops reading before its last position, where a copy with virtual tokens stops as well."""
    folder = tmp_path_factory.mktemp("model")
    save_classifier(load_classifier(tiny("encoder"), max_length=32), folder)
    return folder


@pytest.fixture(scope="module")
def guard(model, toy_train, toy_dev):
    return Guard(Cascade(model, of=OF, clear=0.6), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_the_second_is_asked_about_what_the_first_does_not_settle(guard, toy_test, monkeypatch):
    texts = list(toy_test["text"])
    first, second = guard.detector.members_.values()
    cheap, dear = first.score(texts).scores, second.score(texts).scores
    asked = []
    score = PSIM._score
    monkeypatch.setattr(PSIM, "_score", lambda self, given, **more: asked.extend(given) or score(self, given, **more))
    found = guard.decision_function(texts)
    unsettled = cheap > guard.detector.bar_
    assert 0 < unsettled.sum() < len(texts)
    assert asked == [text for text, is_one in zip(texts, unsettled, strict=True) if is_one]
    np.testing.assert_allclose(found[unsettled], dear[unsettled], atol=1e-6)
    np.testing.assert_allclose(found[~unsettled], cheap[~unsettled] - guard.detector.bar_, atol=1e-4)
    assert found[~unsettled].max() <= 0 <= found[unsettled].min()


def test_the_share_that_is_settled_is_that_of_the_calibration_rows(guard, toy_dev):
    scores = guard.calibration_.scores
    assert np.mean(scores <= 0) == pytest.approx(0.6, abs=0.01)
    assert guard.predict(toy_dev["text"]).mean() <= 0.05


def test_calibrating_on_other_rows_moves_the_bar(tiny, toy_train, toy_dev, toy_test):
    made = Guard(Cascade(tiny("encoder"), of=OF, clear=0.6), frr=0.1).fit(toy_train, calibration=toy_dev)
    before = made.detector.bar_
    others = [f"{text} {text}" for text in toy_test["text"]]
    made.calibrate(others)
    assert made.detector.bar_ != before
    assert np.mean(made.decision_function(others) <= 0) == pytest.approx(0.6, abs=0.02)


def test_in_front_of_the_model_it_was_fitted_on_the_first_shares_its_pass(guard, model, toy_test):
    guarded = GuardedClassifier(guard, load_classifier(model))
    assert guarded.one_pass
    read = {}
    networks = {name: member.classifier.network for name, member in guard.detector.members_.items()}
    hooks = [
        network.register_forward_hook(
            lambda _, __, said, name=name: read.setdefault(name, []).append(len(said.logits))
        )
        for name, network in networks.items()
    ]
    verdicts = guarded.screen(toy_test["text"])
    for hook in hooks:
        hook.remove()
    unsettled = sum(guard.decision_function(toy_test["text"]) > 0)
    assert {name: sum(counts) for name, counts in read.items()} == {"mahalanobis": len(toy_test), "psim": unsettled}
    apart = guarded.answer(toy_test["text"], guarded.judge(toy_test["text"]))
    assert [(v.outcome, v.label) for v in verdicts] == [(v.outcome, v.label) for v in apart]


def test_a_victim_that_reads_further_than_the_second_has_a_pass_of_its_own(tiny, toy_train, toy_dev):
    guard = Guard(Cascade(tiny("encoder"), of=OF), frr=0.05).fit(toy_train, calibration=toy_dev)
    victim = load_classifier(tiny("encoder"))
    assert guard.classifier.max_length < victim.max_length
    assert not GuardedClassifier(guard, victim).one_pass


def test_what_the_first_cannot_score_is_rejected(model, toy_train, toy_dev, break_on):
    guard = Guard(Cascade(model, of="msp+psim"), frr=0.05).fit(toy_train, calibration=toy_dev)
    break_on(guard.detector.members_["msp"].classifier, "a good film")
    scored = guard.score(["a good film", "a bad film"])
    assert scored.errors[0] and np.isnan(scored.scores[0])
    assert np.isfinite(scored.scores[1])


def test_what_the_second_cannot_score_is_rejected(guard, break_on, toy_test):
    unsettled = [text for text in toy_test["text"] if guard.decision_function([text])[0] > 0]
    break_on(guard.detector.members_["psim"].classifier, unsettled[0])
    scored = guard.score(unsettled[:2])
    assert scored.errors[0] and np.isnan(scored.scores[0])
    assert np.isfinite(scored.scores[1])


def test_opened_again_the_order_is_that_of_the_cascade(tiny, toy_train, toy_dev, toy_test, tmp_path):
    """JSON does not keep it: by name, the second would come first."""
    made = Guard(Cascade(tiny("encoder"), of="msp+combined", clear=0.3), frr=0.05)
    made.fit(toy_train, calibration=toy_dev).save_pretrained(tmp_path / "guard")
    opened = Guard.from_pretrained(tmp_path / "guard").detector
    assert list(opened.members_) == ["msp", "combined"]
    assert opened.clear == 0.3
    np.testing.assert_allclose(
        opened.score(toy_test["text"]).scores, made.decision_function(toy_test["text"]), atol=1e-6
    )


@pytest.mark.parametrize(
    ("of", "says"),
    [
        ("mahalanobis", "two or more"),
        ("mahalanobis+psim+msp", "two detectors"),
        ("psim+mahalanobis", "psim cannot come first"),
        ("msp+dan", "dan cannot come second"),
        ("msp+onion", "onion is no detector"),
    ],
)
def test_what_is_no_cascade_is_refused(tiny, toy_train, toy_dev, of, says):
    with pytest.raises(ConfigError, match=says):
        Guard(Cascade(tiny("encoder"), of=of), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_the_order_and_the_share_are_part_of_what_decides(tiny):
    def plan(**settings):
        return Cascade(tiny("encoder"), **settings).plan(["0", "1"])

    assert plan(of="msp+psim") != plan(of="mahalanobis+psim")
    assert plan(clear=0.5) != plan(clear=0.6)


def test_a_damaged_folder_is_refused(guard, tmp_path):
    guard.save_pretrained(tmp_path / "guard")
    path = tmp_path / "guard" / "guard.json"
    content = json.loads(path.read_text())
    for change in ({"bar": "high"}, {"of": "psim+mahalanobis"}, {"clear": None}):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(CheckpointError, match="damaged"):
            Guard.from_pretrained(tmp_path / "guard")


def test_it_is_made_of_the_detectors_it_names(guard):
    first, second = guard.detector.members_.values()
    assert (type(first), type(second)) == (Mahalanobis, PSIM)
