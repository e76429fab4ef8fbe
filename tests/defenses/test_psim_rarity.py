"""PSIM scored by rarity: which rows it learns what from, and what its score is."""

import numpy as np
import pytest

from poisonsieve import Guard
from poisonsieve.defenses import PSIM, PSIMRarity, psim_rarity
from poisonsieve.defenses.rarity import Rarity
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.errors import CheckpointError, ConfigError

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


@pytest.fixture
def trained_on(monkeypatch):
    """Record the texts and the seed of the labels of each training."""
    seen = []
    unlearn = PSIM._unlearn

    def record(self, classifier, texts, seed, *others):
        seen.append((texts, seed))
        return unlearn(self, classifier, texts, seed, *others)

    monkeypatch.setattr(PSIM, "_unlearn", record)
    return seen


def test_the_copy_is_not_trained_on_rows_that_set_its_scales(tiny, toy_train, trained_on):
    PSIMRarity(tiny("encoder"), **QUICK).fit(toy_train)
    learned, _ = CleanRows.of(toy_train).hold_out(0)
    assert all(texts == learned.texts for texts, _ in trained_on)


def test_a_copy_that_stays_sure_of_clean_text_is_trained_again_on_other_labels(
    tiny, toy_train, trained_on, monkeypatch
):
    monkeypatch.setattr(psim_rarity, "UNSURE", 0.0)
    detector = PSIMRarity(tiny("encoder"), rounds=3, **QUICK).fit(toy_train)
    assert detector.rounds_ == len(trained_on) == len({seed for _, seed in trained_on}) == 3


def test_a_copy_that_is_unsure_of_clean_text_is_left_alone(tiny, toy_train, trained_on, monkeypatch):
    monkeypatch.setattr(psim_rarity, "UNSURE", 1.0)
    assert PSIMRarity(tiny("encoder"), **QUICK).fit(toy_train).rounds_ == len(trained_on) == 1


def test_a_stopped_fit_goes_on_in_its_round(tiny, toy_train, toy_test, tmp_path, trained_on, monkeypatch):
    monkeypatch.setattr(psim_rarity, "UNSURE", 0.0)
    settings = {"rounds": 3, **QUICK}
    texts = list(toy_test["text"])
    whole = PSIMRarity(tiny("encoder"), **settings).fit(toy_train).score(texts).scores

    record = PSIM._unlearn
    calls = iter((None, None, KeyboardInterrupt))

    def stop_in_the_third(*arguments):
        if (error := next(calls)) is not None:
            raise error
        return record(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PSIM, "_unlearn", stop_in_the_third)
        PSIMRarity(tiny("encoder"), **settings).fit(toy_train, workdir=tmp_path)
    trained_on.clear()
    resumed = PSIMRarity(tiny("encoder"), **settings).fit(toy_train, workdir=tmp_path)
    assert [seed for _, seed in trained_on] == [(0, 2), (0, 3)]
    np.testing.assert_allclose(resumed.score(texts).scores, whole, rtol=1e-5)


def test_how_often_it_was_trained_is_kept(guard, tmp_path):
    guard.save_pretrained(tmp_path / "guard")
    opened = Guard.from_pretrained(tmp_path / "guard").detector
    assert (opened.rounds, opened.rounds_) == (guard.detector.rounds, guard.detector.rounds_)


@pytest.mark.parametrize("rounds", [0, -1])
def test_it_is_trained_at_least_once(tiny, rounds):
    with pytest.raises(ConfigError, match="rounds"):
        PSIMRarity(tiny("encoder"), rounds=rounds)


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
