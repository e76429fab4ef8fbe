"""The two-sample test: its p-value is one; a part that stands apart is ranked first; other class shares are no finding."""

import numpy as np
import pytest

from poisonsieve.guard.two_sample import compare


def draw(rng, rows, hidden=12, layers=2):
    return rng.normal(size=(rows, layers, hidden))


def one_stratum(*samples):
    return np.zeros(sum(map(len, samples)), dtype=int)


def test_on_samples_drawn_alike_small_p_values_are_as_rare_as_they_say():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(120):
        first, second = draw(rng, 40, layers=1), draw(rng, 30, layers=1)
        found.append(compare(first, second, one_stratum(first, second), seed=seed, permutations=39).p_value)
    for level in (0.05, 0.1, 0.25):
        expected = 120 * level
        assert sum(p <= level for p in found) <= expected + 3.5 * np.sqrt(expected)
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_a_part_that_stands_apart_is_found_and_ranked_first():
    rng = np.random.default_rng(1)
    first, second = draw(rng, 200), draw(rng, 200)
    second[:30, :, 0] += 4
    found = compare(first, second, one_stratum(first, second), permutations=99)
    assert found.p_value == 0.01
    assert (found.second[:30] > np.quantile(found.first, 0.99)).mean() > 0.8
    assert (found.second[30:] > np.quantile(found.first, 0.99)).mean() < 0.05


def test_other_shares_of_the_strata_are_no_difference():
    """Negative traffic beside balanced calibration rows is not an attack: within a class nothing differs."""
    rng = np.random.default_rng(2)
    first, second = draw(rng, 200), draw(rng, 200)
    strata = np.r_[np.arange(200) % 2, np.arange(200) % 10 == 0].astype(int)
    features = np.concatenate([first, second])
    features[strata == 1, :, 0] += 4
    first, second = features[:200], features[200:]
    within = [compare(first, second, strata, seed=seed, permutations=99).p_value for seed in range(3)]
    across = compare(first, second, np.zeros_like(strata), permutations=99).p_value
    assert across == 0.01
    assert np.mean(within) > 0.1


def test_more_features_than_rows_and_features_that_never_change():
    rng = np.random.default_rng(3)
    first, second = draw(rng, 30, hidden=200), draw(rng, 30, hidden=200)
    first[:, :, :50] = second[:, :, :50] = 7.0
    second[:10, :, 60:120] += 3
    found = compare(first, second, one_stratum(first, second), permutations=99)
    assert found.p_value <= 0.05
    assert found.second[:10].mean() > found.second[10:].mean()
    assert np.isfinite(found.first).all()


def test_the_same_seed_finds_the_same():
    rng = np.random.default_rng(4)
    first, second = draw(rng, 50), draw(rng, 50)
    once, again = (compare(first, second, one_stratum(first, second), seed=5, permutations=19) for _ in range(2))
    assert once.p_value == again.p_value
    np.testing.assert_array_equal(once.second, again.second)


def test_a_class_that_only_one_sample_has_tells_nothing_and_fails_nothing():
    rng = np.random.default_rng(6)
    strata = np.r_[np.zeros(60), np.zeros(40), np.ones(20)].astype(int)
    found = []
    for seed in range(8):
        first, second = draw(rng, 60), draw(rng, 60)
        second[40:] += 5
        compared = compare(first, second, strata, seed=seed, permutations=19)
        assert np.isfinite(compared.second).all()
        found.append(compared.p_value)
    assert np.mean(found) > 0.2


def test_with_a_level_it_stops_early_and_finds_no_more_than_all_permutations_would():
    rng = np.random.default_rng(7)
    first, second = draw(rng, 200), draw(rng, 200)
    strata = one_stratum(first, second)
    alike = compare(first, second, strata, permutations=9999, level=0.0005)
    assert alike.p_value > 0.0005
    second[:60] += 2
    apart = compare(first, second, strata, permutations=3999, level=0.0005)
    assert apart.p_value == 1 / 4000, "all were made"
    without = compare(first, second, strata, permutations=19)
    np.testing.assert_array_equal(apart.second, without.second)


def test_on_samples_drawn_alike_a_level_is_missed_as_rarely_as_it_says():
    rng = np.random.default_rng(8)
    found = []
    for seed in range(150):
        first, second = draw(rng, 40, layers=1), draw(rng, 30, layers=1)
        found.append(
            compare(first, second, one_stratum(first, second), seed=seed, permutations=399, level=0.05).p_value
        )
    assert sum(p <= 0.05 for p in found) <= 7.5 + 3.5 * np.sqrt(7.5)
    assert sum(p <= 0.05 for p in found) >= 1
