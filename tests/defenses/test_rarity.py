"""Rarity: the scale on which scores of different kinds are compared."""

import numpy as np
import pytest

from poisonsieve.defenses.rarity import LinearRarity, Rarity, pareto_tail

KINDS = pytest.mark.parametrize("kind", [Rarity, LinearRarity])


def test_below_the_tail_it_is_minus_log_of_the_share_that_scores_as_high():
    rarities = Rarity(np.arange(1.0, 100.0))(np.array([0.0, 1.0, 50.0, 80.0]))
    np.testing.assert_allclose(rarities, -np.log([1, 1, 51 / 100, 21 / 100]))


def test_the_older_kind_counts_throughout():
    rarities = LinearRarity(np.array([1.0, 2.0, 3.0, 4.0]))(np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(rarities, -np.log([1, 1, 4 / 5, 3 / 5, 2 / 5]))


@KINDS
def test_the_order_of_scores_is_kept_also_beyond_all_that_was_seen(kind):
    rng = np.random.default_rng(0)
    rarity = kind(rng.normal(size=200))
    scores = np.sort(np.concatenate([rng.normal(size=500) * 3, [50.0, 60.0]]))
    rarities = rarity(scores)
    assert (np.diff(rarities) >= 0).all()
    assert (np.diff(rarities[scores > rarity.reference[-1]]) > 0).all()
    assert np.isnan(rarity(np.array([np.nan]))).all()


@KINDS
def test_it_does_not_depend_on_the_scale_of_a_score(kind):
    reference = np.random.default_rng(1).normal(size=100)
    scores = np.array([-1.0, 0.3, 2.0, 9.0])
    np.testing.assert_allclose(kind(reference)(scores), kind(reference * 7 - 3)(scores * 7 - 3))


@KINDS
def test_equal_reference_scores_do_not_break_it(kind):
    assert np.isfinite(kind(np.ones(50))(np.array([0.0, 1.0, 1.5]))).all()


@pytest.mark.parametrize("draw", [lambda r, n: r.exponential(size=n), lambda r, n: r.pareto(4.0, size=n)])
def test_beyond_the_reference_it_is_about_the_true_share(draw):
    rng = np.random.default_rng(2)
    fresh = draw(rng, 400_000)
    high = np.quantile(fresh, 0.999)  # rarer than the reference can count
    rarities = [Rarity(draw(rng, 400))(np.array([high]))[0] for _ in range(40)]
    assert np.median(rarities) == pytest.approx(-np.log(0.001), rel=0.15)


def test_the_shape_of_a_tail_is_found():
    rng = np.random.default_rng(3)
    shape, scale = pareto_tail(np.sort(((1 - rng.random(20_000)) ** -0.3 - 1) / 0.3 * 2.0))
    assert shape == pytest.approx(0.3, abs=0.05)
    assert scale == pytest.approx(2.0, rel=0.1)
    assert pareto_tail(np.sort(rng.random(1_000)))[0] == 0, "a bounded score has no tail lighter than exponential"


def test_a_row_is_as_rare_as_if_it_were_not_in_its_own_reference():
    scores = np.random.default_rng(4).normal(size=60)
    rarity = Rarity(scores)
    others = [Rarity(np.delete(scores, row))(scores[row : row + 1])[0] for row in range(60)]
    np.testing.assert_allclose(rarity.of_its_own(scores), others)
    highest = int(np.argmax(scores))
    assert rarity.of_its_own(scores)[highest] > rarity(scores)[highest]
