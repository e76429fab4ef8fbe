from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.errors import CalibrationError, ConfigError
from poisonsieve.thresholds import (
    Threshold,
    default_frr,
    fixed_gamma,
    frr_to_be_sure,
    gamma_for_frr,
    is_flagged,
    lowest_frr,
    rows_needed,
)

RATES = st.sampled_from([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9])


def test_a_tie_passes_and_the_next_number_up_does_not():
    assert is_flagged([0.7, np.nextafter(0.7, 1), np.nextafter(0.7, 0)], 0.7).tolist() == [False, True, False]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_unscored_rows_are_flagged(score):
    assert is_flagged([score], 0.7).tolist() == [True]


def test_gamma_is_not_rounded_to_the_scores_precision():
    score = np.array([0.1], dtype=np.float32)  # a little above 0.1
    assert is_flagged(score, 0.1).tolist() == [True]


def test_many_bars_at_once():
    verdicts = is_flagged(np.array([0.2, 0.6]), np.array([0.1, 0.5, 0.9])[:, None])
    assert verdicts.tolist() == [[True, True], [False, True], [False, False]]


def test_gamma_that_is_not_a_number_is_refused():
    with pytest.raises(ConfigError, match="not a number"):
        is_flagged([0.5], math.nan)


@pytest.mark.parametrize("gamma", [-0.1, 1.0, 70, math.nan, math.inf])
def test_fixed_gamma_must_be_a_probability_below_one(gamma):
    with pytest.raises(ConfigError, match="at least 0 and below 1"):
        fixed_gamma(gamma)


@pytest.mark.parametrize("gamma", [0.0, 0.5, float("nan"), float("inf"), -float("inf")])
def test_fixed_gamma_keeps_to_the_range_of_other_scores(gamma):
    with pytest.raises(ConfigError, match="between -inf and 0"):
        fixed_gamma(gamma, -float("inf"), 0.0)
    assert fixed_gamma(-3.5, -float("inf"), 0.0).gamma == -3.5


def test_fixed_gamma_keeps_the_number():
    assert fixed_gamma(0.7).gamma == 0.7
    assert fixed_gamma(0.7).rule == "fixed"


@pytest.mark.parametrize(
    ("n", "frr", "flagged"),
    [(99, 0.01, 0), (199, 0.01, 1), (100, 0.01, 0), (19, 0.05, 0), (39, 0.05, 1), (9, 0.3, 2)],
)
def test_gamma_flags_as_many_calibration_rows_as_the_rate_allows(n, frr, flagged):
    scores = np.random.default_rng(n).permutation(np.linspace(0.5, 0.99, n))
    assert is_flagged(scores, gamma_for_frr(scores, frr).gamma).sum() == flagged


@pytest.mark.parametrize("frr", [0.1, 0.05, 0.03, 0.01, 0.005, 0.001, 1 / 3])
def test_rows_needed_is_the_least_that_works(frr):
    needed = rows_needed(frr)
    scores = np.linspace(0, 1, needed)
    assert gamma_for_frr(scores, frr).gamma == 1.0
    with pytest.raises(
        CalibrationError, match=f"needs at least {needed} held-out clean rows and there are {needed - 1}"
    ):
        gamma_for_frr(scores[:-1], frr)


def test_one_percent_needs_99_rows():
    assert rows_needed(0.01) == 99


@given(st.data(), RATES)
def test_guarantee_by_exchangeability(data, frr):
    # Each of n + 1 rows is held out in turn and judged by a bar from the other n. Exchangeable rows make each turn
    # equally likely, so the share flagged is the exact chance that a new row is flagged. Few values force ties.
    size = data.draw(st.integers(rows_needed(frr) + 1, rows_needed(frr) + 25))
    scores = np.array(data.draw(st.lists(st.integers(0, 60), min_size=size, max_size=size))) / 60
    flagged = sum(bool(is_flagged(scores[i], gamma_for_frr(np.delete(scores, i), frr).gamma)) for i in range(size))
    assert flagged <= Fraction(str(frr)) * size


@given(st.integers(1, 400), st.integers(0, 2**16))
def test_guarantee_is_not_wasteful_without_ties(extra, seed):
    scores = np.random.default_rng(seed).permutation(extra + 10) / 1000
    held_out, calibration = scores[0], scores[1:]
    allowed = math.floor(Fraction("0.1") * scores.size)
    # Without ties exactly the `allowed` largest of all n + 1 rows would be flagged when held out.
    assert bool(is_flagged(held_out, gamma_for_frr(calibration, 0.1).gamma)) == ((scores > held_out).sum() < allowed)


@given(st.lists(st.floats(0, 1), min_size=20, max_size=200), RATES, RATES)
def test_a_higher_rate_never_raises_gamma(scores, first, second):
    low, high = sorted((first, second))
    if len(scores) >= rows_needed(low):
        assert gamma_for_frr(scores, high).gamma <= gamma_for_frr(scores, low).gamma


def test_interval_is_what_fresh_clean_rows_show():
    rng = np.random.default_rng(0)
    threshold = gamma_for_frr(rng.random(500), 0.02)
    low, high = threshold.frr_interval
    seen = [1 - gamma_for_frr(rng.random(500), 0.02).gamma for _ in range(1000)]  # uniform scores: FRR = 1 - gamma
    assert np.mean([low <= rate <= high for rate in seen]) == pytest.approx(0.95, abs=0.02)
    assert np.mean(seen) == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_unscored_calibration_rows_are_counted(bad):
    with pytest.raises(CalibrationError, match="2 of 200 calibration rows"):
        gamma_for_frr([bad, bad] + [0.5] * 198, 0.05)


@pytest.mark.parametrize("frr", [0, 1, -0.1, 5, math.nan])
def test_rate_must_be_a_fraction(frr):
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        gamma_for_frr([0.5] * 100, frr)


def test_scores_must_be_one_column():
    with pytest.raises(CalibrationError, match=r"shape \(50, 2\)"):
        gamma_for_frr(np.zeros((50, 2)), 0.1)


def test_no_rows_says_how_many_are_needed():
    with pytest.raises(CalibrationError, match=r"needs at least 99 .* there are 0"):
        gamma_for_frr([], 0.01)


@pytest.mark.parametrize("threshold", [fixed_gamma(0.75), gamma_for_frr(np.linspace(0.5, 0.9999, 321), 0.01)])
def test_survives_json(threshold):
    assert Threshold.from_dict(json.loads(json.dumps(threshold.to_dict()))) == threshold


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gamma": 0.7, "rule": "fixed", "gama": 1}, "unknown keys: gama"),
        ({"rule": "fixed"}, "gamma is None"),
        ({"gamma": "0.7", "rule": "fixed"}, "gamma is '0.7'"),
        ({"gamma": math.nan, "rule": "fixed"}, "gamma is nan"),
        ({"gamma": 0.7, "rule": "guess"}, "rule is 'guess'"),
        ({"gamma": 0.7, "rule": "frr"}, "needs frr"),
    ],
)
def test_damaged_threshold_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Threshold.from_dict(values)


def test_description_says_how_gamma_was_found():
    assert "by hand" in fixed_gamma(0.7).describe()
    text = gamma_for_frr(np.linspace(0, 1, 1234), 0.01).describe()
    assert "1,234" in text
    assert "at most 1%" in text


class TestPromise:
    """A rate that 95% of calibration sets keep to."""

    @given(
        st.integers(20, 3000), st.sampled_from([0.005, 0.01, 0.02, 0.1, 0.3]), st.sampled_from([0.5, 0.9, 0.95, 0.99])
    )
    def test_gamma_is_the_lowest_that_keeps_it(self, rows, frr, confidence):
        from scipy.stats import beta

        if rows < rows_needed(frr, confidence):
            assert (1 - frr) ** rows > 1 - confidence  # not even the largest score would do
            return
        gamma = gamma_for_frr(np.arange(rows), frr, confidence=confidence).gamma
        m = rows - int(gamma)  # gamma is the m-th largest
        assert beta.cdf(frr, m, rows + 1 - m) >= confidence - 1e-9
        assert beta.cdf(frr, m + 1, rows - m) < confidence + 1e-9
        assert gamma == gamma_for_frr(np.arange(rows), frr_to_be_sure(frr, rows, confidence)).gamma

    @pytest.mark.parametrize("rows", [299, 500, 2000])
    def test_drawn_calibrations_keep_it(self, rows):
        rng = np.random.default_rng(rows)
        seen = [1 - gamma_for_frr(rng.random(rows), 0.01, confidence=0.95).gamma for _ in range(2000)]
        assert np.mean(np.array(seen) <= 0.01) >= 0.94
        on_average = [1 - gamma_for_frr(rng.random(rows), 0.01).gamma for _ in range(2000)]
        assert np.mean(np.array(on_average) <= 0.01) < 0.8

    def test_one_percent_takes_299_rows_and_one_fewer_says_what_they_would_do_for(self):
        assert rows_needed(0.01, 0.95) == 299
        assert gamma_for_frr(np.linspace(0, 1, 299), 0.01, confidence=0.95).gamma == 1.0
        says = "at least 299 held-out clean rows and there are 298; give more rows or a rate of 0.011, the lowest"
        with pytest.raises(CalibrationError, match=says):
            gamma_for_frr(np.linspace(0, 1, 298), 0.01, confidence=0.95)
        with pytest.raises(CalibrationError, match="there are 0; give more rows or a higher rate"):
            gamma_for_frr([], 0.01, confidence=0.95)

    @given(st.integers(1, 100_000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
    def test_the_lowest_rate_is_the_lowest_of_two_digits(self, rows, confidence):
        lowest = lowest_frr(rows, confidence)
        if lowest is None:
            assert rows_needed(0.99, confidence) > rows
            return
        assert rows_needed(lowest, confidence) <= rows
        lower = lowest - 10.0 ** (math.floor(math.log10(lowest)) - 1)
        assert lower <= 0 or rows_needed(float(f"{lower:.2g}"), confidence) > rows

    def test_the_default_is_one_percent_or_what_the_rows_can_promise_up_to_five(self):
        assert [default_frr(rows) for rows in (59, 100, 298, 299, 100_000)] == [0.05, 0.03, 0.011, 0.01, 0.01]
        for rows in (0, 58):
            with pytest.raises(CalibrationError, match=f"at most 0.05 takes at least 59 .* there are {rows}"):
                default_frr(rows)

    def test_it_says_so(self):
        promised = gamma_for_frr(np.linspace(0, 1, 1500), 0.01, confidence=0.95)
        assert promised.promise == "at most 1% of clean text rejected, with 95% confidence (1,500 rows)"
        assert "at most 1% of clean rows rejected with 95% confidence" in promised.describe()
        assert "on average" in gamma_for_frr(np.linspace(0, 1, 1500), 0.01).promise
        assert "by hand" in fixed_gamma(0.7).promise
        assert promised.asked == {"frr": 0.01, "frr_mean": None, "gamma": None}
        assert Threshold.from_dict(json.loads(json.dumps(promised.to_dict()))) == promised

    def test_a_threshold_of_before_is_a_mean(self):
        before = gamma_for_frr(np.linspace(0, 1, 1500), 0.01).to_dict()
        del before["frr_confidence"]
        assert Threshold.from_dict(before).asked == {"frr": None, "frr_mean": 0.01, "gamma": None}

    @pytest.mark.parametrize("confidence", [0.0, 1.0, -1, math.nan])
    def test_a_confidence_is_a_fraction(self, confidence):
        for call in (lambda: rows_needed(0.01, confidence), lambda: lowest_frr(100, confidence)):
            with pytest.raises(ConfigError, match="confidence"):
                call()


class TestToBeSure:
    @given(
        st.integers(20, 3000), st.sampled_from([0.005, 0.01, 0.02, 0.1, 0.3]), st.sampled_from([0.5, 0.9, 0.95, 0.99])
    )
    def test_the_highest_rate_that_holds_in_that_share_of_calibrations(self, rows, frr, confidence):
        from scipy.stats import beta

        try:
            asked = frr_to_be_sure(frr, rows, confidence)
        except CalibrationError:
            assert (1 - frr) ** rows > 1 - confidence  # not even the largest score would do
            return
        gamma = gamma_for_frr(np.arange(rows), asked).gamma
        m = rows - int(gamma)  # gamma is the m-th largest
        assert beta.cdf(frr, m, rows + 1 - m) >= confidence - 1e-9
        assert beta.cdf(frr, m + 1, rows - m) < confidence + 1e-9

    def test_on_drawn_calibrations(self):
        rng = np.random.default_rng(0)
        asked = frr_to_be_sure(0.02, 500, 0.9)
        kept = np.mean([1 - gamma_for_frr(rng.random(500), asked).gamma <= 0.02 for _ in range(2000)])
        assert 0.9 <= kept < 0.96  # the next rank would keep to it in 85%
        assert np.mean([1 - gamma_for_frr(rng.random(500), 0.02).gamma <= 0.02 for _ in range(2000)]) < 0.62

    def test_known_rates(self):
        assert [frr_to_be_sure(0.01, rows) for rows in (299, 499, 872, 10_000)] == [0.004, 0.004, 0.005, 0.0084]

    def test_too_few_rows_name_how_many_it_takes(self):
        with pytest.raises(CalibrationError, match="at least 299 held-out clean rows and there are 298"):
            frr_to_be_sure(0.01, 298)

    @pytest.mark.parametrize(("frr", "confidence"), [(0.0, 0.95), (1.0, 0.95), (0.01, 0.0), (0.01, 1.0)])
    def test_out_of_range(self, frr, confidence):
        with pytest.raises(ConfigError):
            frr_to_be_sure(frr, 1000, confidence)


@pytest.mark.parametrize("value", [None, "0.1", [0.1], True, 1j])
def test_what_is_no_number_is_no_rate_and_no_gamma(value):
    with pytest.raises(ConfigError):
        gamma_for_frr(np.linspace(0, 1, 200), value)
    with pytest.raises(ConfigError):
        fixed_gamma(value)
