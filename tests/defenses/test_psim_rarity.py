"""PSIM scored by rarity: which rows it learns what from, and what its score is."""

import numpy as np
import pytest

from poisonsieve import Guard
from poisonsieve.defenses import PSIM, PSIMRarity
from poisonsieve.defenses.rarity import Rarity
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.errors import CheckpointError

QUICK = {"method": "lora", "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def guard(tiny, toy_train, toy_dev):
    return Guard(PSIMRarity(tiny("encoder"), **QUICK), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_the_rarest_of_the_three_scores_decides(guard, toy_test):
    texts, detector = list(toy_test["text"]), guard.detector
    scores = detector._scores(*detector._read(texts, None))
    rarities = np.stack([Rarity(detector.rarities_[name].reference)(found) for name, found in scores.items()])
    np.testing.assert_allclose(guard.decision_function(texts), rarities.max(axis=0))
    assert len(set(rarities.argmax(axis=0))) > 1, "more than one of the three decides"


def test_confidence_orders_texts_as_psim_does(guard, toy_test):
    texts, detector = list(toy_test["text"]), guard.detector
    odds = detector._scores(*detector._read(texts, None))["confidence"]
    highest = detector.classifier_.score(texts).probabilities.max(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), highest, rtol=1e-4)


def test_a_confidence_that_saturates_is_still_told_apart():
    from poisonsieve.defenses.psim_rarity import _log_odds

    sure, surer = _log_odds(np.array([[60.0, 0.0, -1.0], [80.0, 0.0, -1.0]]))
    assert surer - sure == pytest.approx(20)
    assert np.isnan(_log_odds(np.array([[np.nan, np.nan]]))).all()


def test_the_copy_is_not_trained_on_rows_that_set_its_scales(tiny, toy_train, monkeypatch):
    seen = []
    fit = PSIM._fit
    monkeypatch.setattr(
        PSIM, "_fit", lambda self, rows, **options: seen.append(rows.texts) or fit(self, rows, **options)
    )
    PSIMRarity(tiny("encoder"), **QUICK).fit(toy_train)
    learned, _ = CleanRows.of(toy_train).hold_out(0)
    assert seen == [learned.texts]


def test_a_guards_calibration_rows_are_what_rarity_is_measured_by(guard, toy_dev):
    assert (
        len(guard.detector.rarities_["states"].reference)
        == len(guard.calibration_.scores)
        == len(set(toy_dev["text"]))
    )


def test_a_saved_guard_is_refused_without_its_rarities(guard, tmp_path):
    guard.save_pretrained(tmp_path / "guard")
    (tmp_path / "guard" / "rarities.safetensors").unlink()
    with pytest.raises(CheckpointError, match="rarities"):
        Guard.from_pretrained(tmp_path / "guard")
