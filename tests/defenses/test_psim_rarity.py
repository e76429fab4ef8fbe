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


def test_a_confidence_that_is_barely_rare_and_a_path_that_is_barely_rare_add_up(guard, toy_test):
    texts, detector = list(toy_test["text"]), guard.detector
    scores = detector.passes_.scores(*detector._read(texts, None))
    rarities = [Rarity(detector.passes_.rarities[name].reference)(found) for name, found in scores.items()]
    np.testing.assert_allclose(guard.decision_function(texts), rarities[0] + rarities[1])


def test_confidence_orders_texts_as_psim_does(guard, toy_test):
    texts, detector = list(toy_test["text"]), guard.detector
    odds = detector.passes_.scores(*detector._read(texts, None))["confidence"]
    highest = detector.classifier_.score(texts).probabilities.max(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), highest, rtol=1e-4)


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
        len(guard.detector.passes_.rarities["states"].reference)
        == len(guard.calibration_.scores)
        == len(set(toy_dev["text"]))
    )


def test_a_saved_guard_is_refused_without_its_rarities(guard, tmp_path):
    guard.save_pretrained(tmp_path / "guard")
    (tmp_path / "guard" / "rarities.safetensors").unlink()
    with pytest.raises(CheckpointError, match="rarities"):
        Guard.from_pretrained(tmp_path / "guard")
