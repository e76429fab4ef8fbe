"""PSIM scored by distance: which rows it learns what from, and what its score is."""

import numpy as np
import pytest

from poisonsieve import Guard
from poisonsieve.defenses import PSIM, PSIMDistance
from poisonsieve.defenses.rarity import Rarity
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.errors import CheckpointError

QUICK = {"method": "lora", "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def guard(tiny, toy_train, toy_dev):
    return Guard(PSIMDistance(tiny("encoder"), **QUICK), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_the_rarer_of_the_two_distances_is_the_score(guard, toy_test):
    texts, detector = list(toy_test["text"]), guard.detector
    distances = detector._distances(*detector._read(texts, None))
    references = detector.logit_scores_, detector.state_scores_
    rarities = [Rarity(reference)(found) for reference, found in zip(references, distances, strict=True)]
    np.testing.assert_allclose(guard.decision_function(texts), np.max(rarities, axis=0))
    assert 0 < np.mean(rarities[0] > rarities[1]) < 1, "each of the two decides some texts"


def test_the_copy_is_not_trained_on_rows_that_set_its_scales(tiny, toy_train, monkeypatch):
    seen = []
    fit = PSIM._fit
    monkeypatch.setattr(
        PSIM, "_fit", lambda self, rows, **options: seen.append(rows.texts) or fit(self, rows, **options)
    )
    PSIMDistance(tiny("encoder"), **QUICK).fit(toy_train)
    learned, _ = CleanRows.of(toy_train).hold_out(0)
    assert seen == [learned.texts]


def test_a_guards_calibration_rows_are_what_rarity_is_measured_by(guard, toy_dev):
    assert len(guard.detector.state_scores_) == len(guard.calibration_.scores) == len(set(toy_dev["text"]))


def test_a_saved_guard_is_refused_without_its_distances(guard, tmp_path):
    guard.save_pretrained(tmp_path / "guard")
    (tmp_path / "guard" / "distances.safetensors").unlink()
    with pytest.raises(CheckpointError, match="distances"):
        Guard.from_pretrained(tmp_path / "guard")
