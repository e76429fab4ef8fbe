"""Drift, histograms and leave-one-out: plain functions, held against SciPy and against what they are to find."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.serve.drift import drift, population_stability
from poisonsieve.serve.explain import effects, leave_out
from poisonsieve.serve.facts import BINS, edges_for, histogram
from poisonsieve.verdict import Verdict

NUMBERS = st.lists(st.sampled_from(np.linspace(0, 1, 12).tolist()) | st.floats(0, 1), min_size=1, max_size=60)


SEVERAL = NUMBERS.filter(lambda values: len(values) > 1)


@given(SEVERAL, SEVERAL)
def test_the_distance_is_the_largest_between_the_shares_at_or_below_a_value(left, right):
    def share(values, bar):
        return sum(value <= bar for value in values) / len(values)

    found = drift(np.array(left), np.sort(right), min_texts=1, min_ks=0.0)
    assert found.ks == pytest.approx(
        max(abs(share(left, bar) - share(right, bar)) for bar in [*left, *right]), abs=1e-12
    )


def test_unchanged_traffic_is_no_drift_and_changed_traffic_is():
    rng = np.random.default_rng(0)
    calibration = np.sort(rng.beta(5, 3, 500))
    alarms = [drift(rng.beta(5, 3, 1000), calibration, min_texts=200, min_ks=0.0).drifted for _ in range(300)]
    assert sum(alarms) <= 3
    for changed in (rng.beta(5, 2, 1000), np.concatenate([rng.beta(5, 3, 700), np.full(300, 0.99)])):
        found = drift(changed, calibration, min_texts=200, min_ks=0.1)
        assert found.drifted and found.ks > found.bar and found.psi > 0.1


def test_few_texts_say_nothing_and_a_small_distance_does_not_matter():
    calibration = np.linspace(0, 1, 10_000)
    few = drift(np.zeros(199), calibration, min_texts=200, min_ks=0.1)
    assert (few.ks, few.bar, few.psi, few.drifted, few.recent_texts) == (None, None, None, None, 199)
    moved = drift(np.linspace(0, 1, 10_000) * 0.95, calibration, min_texts=200, min_ks=0.1)
    assert moved.bar == 0.1 and not moved.drifted
    assert drift(np.linspace(0, 1, 10_000) * 0.95, calibration, min_texts=200, min_ks=0.0).drifted
    assert drift(np.ones(500), np.array([]), min_texts=200, min_ks=0.1).drifted is None


def test_stability_is_small_for_the_same_and_finite_where_bins_are_empty():
    calibration = np.linspace(0, 1, 1000)
    assert population_stability(calibration, calibration) == pytest.approx(0, abs=1e-6)
    assert 1 < population_stability(np.full(1000, 2.0), calibration) < 20
    assert np.isfinite(population_stability(np.ones(10), np.ones(10)))


@given(NUMBERS, st.floats(0, 1))
def test_every_value_is_in_one_bin(values, gamma):
    edges = edges_for(np.array(values), gamma, (0.0, 1.0))
    counted = histogram(np.array(values), edges)
    assert len(counted.counts) == BINS
    assert sum(counted.counts) == len(values)
    assert list(counted.edges) == sorted(set(counted.edges))
    assert edges[0] <= min(values) and max(values) <= edges[-1] and edges[0] <= gamma <= edges[-1]


def test_open_score_ranges_have_finite_edges_and_outliers_count_at_the_ends():
    edges = edges_for(np.array([3.0, 9.0]), 7.0, (-np.inf, np.inf))
    assert np.isfinite(edges).all() and edges[0] < 3 and edges[-1] > 9
    counted = histogram(np.array([-100.0, 5.0, 100.0]), edges).counts
    assert (counted[0], counted[-1], sum(counted)) == (1, 1, 3)


def test_each_word_is_left_out_once():
    found = leave_out("  a fine\tmn  film\n", 10)
    assert found.words == ["a", "fine", "mn", "film"]
    assert found.texts == [
        "  a fine\tmn  film\n",
        "  fine\tmn  film\n",
        "  a mn  film\n",
        "  a fine\tfilm\n",
        "  a fine\tmn  ",
    ]
    assert not found.truncated
    assert leave_out("", 10).texts == [""]
    cut = leave_out("one two three", 2)
    assert (cut.words, cut.truncated) == (["one", "two"], True)
    assert not leave_out("one two", 2).truncated
    only = leave_out(" mn ", 2)
    assert (only.words, only.texts, only.truncated) == ([], [" mn "], False)  # nothing would be left to judge


def test_an_effect_is_how_far_the_confidence_falls():
    def verdict(confidence):
        return Verdict("other" if confidence is None else None, None, confidence, 0.8, False)

    said = effects(leave_out("mn film", 9), [verdict(0.9), verdict(0.6), verdict(None)])
    assert said["words"][0] == {"word": "mn", "confidence_without": 0.6, "effect": pytest.approx(0.3)}
    assert said["words"][1] == {"word": "film", "confidence_without": None, "effect": 0.0}
    assert (said["confidence"], said["gamma"], said["truncated"]) == (0.9, 0.8, False)
    unknown = effects(leave_out("mn film", 9), [verdict(None), verdict(0.6), verdict(0.5)])
    assert unknown["words"][0]["effect"] == 0.0


def test_without_spaces_letters_are_left_out_one_by_one():
    found = leave_out("这片mn好 看", 10)
    assert found.words == ["这", "片", "mn", "好", "看"]
    assert found.texts == ["这片mn好 看", "片mn好 看", "这mn好 看", "这片好 看", "这片mn看", "这片mn好 "]
