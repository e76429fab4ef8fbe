"""Several detectors as one: what decides, and that one rate holds for all of them together."""

import numpy as np
import pytest

from poisonsieve import Guard
from poisonsieve.defenses import Combined, Detector
from poisonsieve.defenses.combined import rarity
from poisonsieve.errors import ConfigError


def test_rarity_is_minus_log_of_the_share_that_scores_as_high():
    reference = np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(
        rarity(reference, np.array([0.0, 1.0, 2.0, 3.0, 4.0])), -np.log([1, 1, 4 / 5, 3 / 5, 2 / 5])
    )


def test_rarity_keeps_the_order_of_scores_also_beyond_all_that_was_seen():
    rng = np.random.default_rng(0)
    reference = np.sort(rng.normal(size=200))
    scores = np.sort(np.concatenate([rng.normal(size=500) * 3, [50.0, 60.0]]))
    rarities = rarity(reference, scores)
    assert (np.diff(rarities) >= 0).all()
    above = rarities[scores > reference[-1]]
    assert (np.diff(above) > 0).all()
    assert np.isnan(rarity(reference, np.array([np.nan]))).all()


def test_rarity_does_not_depend_on_the_scale_of_a_score():
    reference = np.sort(np.random.default_rng(1).normal(size=100))
    scores = np.array([-1.0, 0.3, 2.0, 9.0])
    np.testing.assert_allclose(rarity(reference, scores), rarity(reference * 7 - 3, scores * 7 - 3))


def test_equal_reference_scores_do_not_break_it():
    assert np.isfinite(rarity(np.ones(50), np.array([0.0, 1.0, 1.5]))).all()


def test_the_member_that_suspects_most_decides(tiny, toy_train, toy_dev, toy_test):
    guard = Guard(Combined(tiny("encoder"), of="msp+dan"), frr=0.05).fit(toy_train, calibration=toy_dev)
    texts = list(toy_test["text"])
    members, references = guard.detector.members_, guard.detector.references_
    each = [rarity(references[name], member.score(texts).scores) for name, member in members.items()]
    np.testing.assert_allclose(guard.decision_function(texts), np.max(each, axis=0))
    assert 0 < np.mean(each[0] > each[1]) < 1, "each of the two decides some texts"


def test_reference_rows_are_not_fitted_on(tiny, toy_train, toy_dev, monkeypatch):
    seen = {}
    for name in ("MSP", "DAN"):
        kind = getattr(__import__("poisonsieve.defenses", fromlist=[name]), name)
        learn = kind._learn

        def watch(self, rows, progress, learn=learn):
            seen[self.name] = set(rows.texts)
            return learn(self, rows, progress)

        monkeypatch.setattr(kind, "_learn", watch)
    scored = []
    score = Detector.score
    monkeypatch.setattr(
        Detector, "score", lambda self, texts, **options: scored.append(list(texts)) or score(self, texts, **options)
    )
    Guard(Combined(tiny("encoder"), of="msp+dan"), frr=0.05).fit(toy_train, calibration=toy_dev)
    reference = set(scored[0])
    assert reference
    assert not reference & seen["msp"]
    assert not reference & seen["dan"]


@pytest.mark.parametrize("of", ["", "psim", "psim+psim", "psim+combined", "psim+onion", "psim+nothing"])
def test_what_cannot_be_combined_is_refused(tiny, toy_train, toy_dev, of):
    with pytest.raises(ConfigError):
        Guard(Combined(tiny("encoder"), of=of), frr=0.05).fit(toy_train, calibration=toy_dev)
