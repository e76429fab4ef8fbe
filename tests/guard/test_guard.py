"""A guard: one detector, one threshold, one folder."""

import json

import numpy as np
import pytest

from poisonsieve import PSIM, Guard, GuardedClassifier
from poisonsieve.defenses import MSP
from poisonsieve.errors import CalibrationError, ConfigError
from poisonsieve.guard import make_guard
from poisonsieve.guard.calibration import Calibration
from poisonsieve.guard.folder import read_calibration, write_with_threshold
from poisonsieve.thresholds import fixed_gamma, gamma_for_frr


@pytest.fixture(scope="module")
def fitted(tiny, toy_train, toy_dev):
    return Guard(MSP(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)


@pytest.mark.parametrize("wrong", ["guard/", PSIM, None])
def test_it_is_made_of_a_detector(wrong):
    with pytest.raises(ConfigError, match=r"made of a detector, such as Guard\(PSIM\(model\), frr=0.01\)"):
        Guard(wrong)


def test_its_rate_may_stand_among_the_detectors_arguments():
    guard = make_guard("strip:copies=3,frr=0.2", model="theta_p", frr=0.1)
    assert (guard.detector.copies, guard.frr, guard.gamma) == (3, 0.2, None)
    assert make_guard("strip:frr_mean=0.2", model="theta_p", frr=0.1).frr_mean == 0.2
    assert make_guard("psim", model="theta_p").frr == "auto"
    assert make_guard("psim:frr=0.2", preset="paper", model="theta_p").gamma is None
    with pytest.raises(ConfigError, match="psim: frr is 'x'; give a number"):
        make_guard("psim:frr=x", model="theta_p")


def test_without_a_rule_it_keeps_scores_and_the_choice_comes_later(tiny, toy_train, toy_dev, toy_test, tmp_path):
    """What a grid holds: its threshold is chosen when the table is made."""
    open_ended = Guard(MSP(tiny("encoder")), frr=None).fit(toy_train, calibration=toy_dev)
    open_ended.save_pretrained(tmp_path / "guard")
    assert not {"gamma", "rule", "frr"} & set(json.loads((tmp_path / "guard" / "guard.json").read_text()))
    again = Guard.from_pretrained(tmp_path / "guard")
    for guard in (open_ended, again):
        for use in (guard.predict, GuardedClassifier(guard).screen):
            with pytest.raises(ConfigError, match="no threshold yet"):
                use(["a film"])
    with_rule = Guard(MSP(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)
    assert again.set_threshold(frr=0.05).threshold_ == with_rule.threshold_
    assert again.predict(toy_test["text"]).tolist() == with_rule.predict(toy_test["text"]).tolist()


class TestWhichRate:
    """`frr` is promised with 95% confidence, `frr_mean` is kept to on average, and by default `fit` promises what it can."""

    @pytest.mark.parametrize(
        ("asked", "kept"),
        [({"frr": 0.1}, (0.1, 0.95)), ({"frr_mean": 0.1}, (0.1, None)), ({}, (0.025, 0.95))],
    )
    def test_it_stays_with_the_guard(self, asked, kept, tiny, toy_train, toy_dev, tmp_path):
        Guard(MSP(tiny("encoder")), **asked).fit(toy_train, calibration=toy_dev).save_pretrained(tmp_path / "guard")
        guard = Guard.from_pretrained(tmp_path / "guard")
        assert (guard.threshold_.frr, guard.threshold_.frr_confidence) == kept
        again = guard.threshold_
        assert guard.calibrate(toy_dev).threshold_ == again

    def test_a_promise_costs_no_more_clean_text_than_the_mean(self, fitted, toy_dev):
        promised = fitted.calibration_.choose(frr=0.05).threshold
        assert promised.gamma > fitted.calibration_.choose(frr_mean=0.05).threshold.gamma

    def test_a_rate_that_cannot_be_promised_is_refused_before_training(self, tiny, toy_train, toy_dev):
        guard = Guard(MSP(tiny("encoder")), frr=0.01)
        says = (
            r"at least 299 .* there are 120; give more rows or a rate of 0.025, the lowest .* on average .* takes 99"
        )
        with pytest.raises(CalibrationError, match=says):
            guard.fit(toy_train, calibration=toy_dev)
        assert not hasattr(guard.detector, "classifier_")
        with pytest.raises(CalibrationError, match=r"a fifth of the 160 rows\); give 1,495 rows, or 299 other rows"):
            guard.fit(toy_train)

    def test_the_default_asks_for_some_rows_too(self, tiny, toy_train):
        with pytest.raises(CalibrationError, match=r"at most 0.05 takes at least 59 .* there are 32"):
            Guard(MSP(tiny("encoder"))).fit(toy_train)

    @pytest.mark.parametrize("both", [{"frr": 0.1, "gamma": 0.7}, {"frr": 0.1, "frr_mean": 0.1}])
    def test_two_ways_to_one_threshold_are_refused(self, both, tiny, toy_train):
        with pytest.raises(ConfigError, match="both set the threshold"):
            Guard(MSP(tiny("encoder")), **both).fit(toy_train)

    def test_a_stage_tells_a_promise_from_a_mean(self, tiny):
        rules = [{"frr": 0.1}, {"frr_mean": 0.1}, {}]
        plans = [Guard(MSP(tiny("encoder")), **rule).plan(None)["guard"] for rule in rules]
        assert plans[0] != plans[1] != plans[2] != plans[0]
        assert (plans[1]["frr"], plans[1]["gamma"], "confidence" in plans[1]) == (
            0.1,
            None,
            False,
        )  # as it always was


def test_the_digest_is_that_of_its_folder_as_long_as_it_is_the_same_guard(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "one")
    fitted.save_pretrained(tmp_path / "two")
    one, two = (Guard.from_pretrained(tmp_path / name) for name in ("one", "two"))
    assert one.digest == two.digest == fitted.digest
    two.set_threshold(frr=0.2)
    with pytest.raises(ConfigError, match="in no folder"):
        _ = two.digest
    two.save_pretrained(tmp_path / "two", overwrite=True)
    assert two.digest != one.digest


class TestCalibration:
    scores = np.sort(np.random.default_rng(0).uniform(0.5, 0.9, 200))

    def test_another_rule_is_another_value(self):
        plain = Calibration(self.scores, score_range=(0.0, 1.0))
        chosen = plain.choose(frr_mean=0.05)
        assert (plain.threshold, chosen.threshold) == (None, gamma_for_frr(self.scores, 0.05))
        assert chosen.choose(gamma=0.7).threshold == fixed_gamma(0.7)
        assert chosen.threshold == gamma_for_frr(self.scores, 0.05)
        assert chosen.choose(frr=0.05).threshold == gamma_for_frr(self.scores, 0.05, confidence=0.95)
        for both in ({}, {"frr": 0.05, "gamma": 0.7}, {"frr": 0.05, "frr_mean": 0.05}):
            with pytest.raises(ConfigError, match="exactly one"):
                plain.choose(**both)

    @pytest.mark.parametrize("gamma", [1.0, 1.0 - 1e-13])
    def test_a_gamma_that_no_score_can_exceed_is_refused_wherever_it_comes_from(self, gamma, fitted, tmp_path):
        """From a rule, from a file, and when gamma is found again with what reviewers said."""
        saturated = Calibration(np.full(200, gamma), score_range=(0.0, 1.0))
        with pytest.raises(CalibrationError, match="no score can exceed"):
            saturated.choose(frr=0.05)
        threshold = gamma_for_frr(saturated.scores, 0.05)
        with pytest.raises(CalibrationError, match="no score can exceed"):
            saturated.at(threshold)
        fitted.save_pretrained(tmp_path / "guard")
        write_with_threshold(tmp_path / "guard", tmp_path / "other", threshold, {})
        for opens in (read_calibration, Guard.from_pretrained):
            with pytest.raises(CalibrationError, match="no score can exceed"):
                opens(tmp_path / "other")
