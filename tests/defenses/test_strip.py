"""STRIP beyond what every detector keeps to."""

import json

import numpy as np
import pytest

from poisonsieve import Guard
from poisonsieve.defenses import STRIP
from poisonsieve.defenses.strip import entropy
from poisonsieve.errors import CheckpointError, ConfigError, DataError


@pytest.fixture(scope="module")
def guard(tiny, toy_train, toy_dev):
    return Guard(STRIP(tiny("encoder"), copies=6), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_the_mean_is_over_the_copies_of_each_text(guard, toy_test):
    """A plain loop, one text and one copy at a time."""
    texts = list(toy_test["text"])[:10]
    expected = []
    for text in texts:
        entropies = []
        for copy in guard.detector.perturb(text):
            probabilities = guard.classifier.score([copy]).probabilities[0]
            entropies.append(-sum(p * np.log(p) for p in probabilities))
        assert len(entropies) == 6
        expected.append(-np.mean(entropies))
    assert np.ptp(expected) > 1e-6
    np.testing.assert_allclose(guard.decision_function(texts), expected, atol=1e-7)


def test_entropy_is_in_nats():
    rows = np.array([[0.5, 0.5], [1.0, 0.0], [0.2, 0.8], [np.nan, np.nan]])
    np.testing.assert_allclose(entropy(rows), [np.log(2), 0, -(0.2 * np.log(0.2) + 0.8 * np.log(0.8)), np.nan])


def test_copies_keep_some_words_in_place_and_take_the_others_from_clean_text(guard):
    clean = {word for words in guard.detector.pool_ for word in words}
    text = " ".join(f"unseen{place}" for place in range(20))
    copies = [copy.split() for copy in guard.detector.perturb(text)]
    assert len(copies) == 6
    for copy in copies:
        kept = [word for place, word in enumerate(copy) if word == f"unseen{place}"]
        assert len(copy) == 20
        assert len(kept) == 10
        assert all(word in clean for word in copy if word not in kept)
    assert len({tuple(copy) for copy in copies}) == 6


def test_the_new_words_of_a_copy_come_from_one_clean_text(guard):
    for copy in guard.detector.perturb("unseen " * 30):
        new = {word for word in copy.split() if word != "unseen"}
        assert any(new <= set(words) for words in guard.detector.pool_)


def test_the_same_copies_at_every_call_and_others_with_another_seed(tiny, toy_train, toy_dev, guard):
    text = "the plot was very good and the actor was not"
    first = guard.detector.perturb(text)
    guard.detector.perturb("something else")
    assert guard.detector.perturb(text) == first
    other = Guard(STRIP(tiny("encoder"), copies=6, seed=1), frr=0.05).fit(toy_train, calibration=toy_dev)
    assert other.detector.perturb(text) != first


def test_texts_of_no_word_and_of_one(tiny, toy_train, toy_dev):
    guard = Guard(STRIP(tiny("encoder"), copies=40), frr=0.05).fit(toy_train, calibration=toy_dev)
    assert guard.detector.perturb("") == [""] * 40
    assert guard.detector.perturb("  ") == [""] * 40
    kept = guard.detector.perturb("unseen").count("unseen")
    assert 10 <= kept <= 30
    assert np.isfinite(guard.decision_function(["", "good"])).all()


def test_a_text_is_not_judged_when_one_of_its_copies_could_not_be(guard, break_on):
    break_on(guard.classifier, guard.detector.perturb("a bad film")[3])
    scored = guard.score(["a bad film", "the story of a very fine and quite sad actor"])
    assert scored.errors == ["model failed: RuntimeError", None]
    assert np.isnan(scored.scores[0])
    assert np.isfinite(scored.scores[1])


def test_the_pool_is_bounded_and_saved(tiny, toy_train, toy_dev, toy_test, tmp_path):
    guard = Guard(STRIP(tiny("encoder"), pool_size=7), frr=0.05).fit(toy_train, calibration=toy_dev)
    guard.save_pretrained(tmp_path / "guard")
    saved = json.loads((tmp_path / "guard" / "pool.json").read_text())
    assert len(saved) == 7
    assert set(saved) <= set(toy_train["text"])
    again = Guard.from_pretrained(tmp_path / "guard")
    assert again.detector.perturb("a good film") == guard.detector.perturb("a good film")


@pytest.mark.parametrize("content", ["[]", "{}", '["good", 7]', '["good", ""]', "nothing"])
def test_a_damaged_pool_is_refused(guard, tmp_path, content):
    guard.save_pretrained(tmp_path / "guard")
    (tmp_path / "guard" / "pool.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"pool\.json"):
        Guard.from_pretrained(tmp_path / "guard")


@pytest.mark.parametrize("bad", [{"copies": 0}, {"share": 0.0}, {"share": 1.0}, {"pool_size": 0}])
def test_settings_out_of_range(tiny, toy_train, toy_dev, bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Guard(STRIP(tiny("encoder"), **bad), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_clean_rows_without_words(tiny, toy_dev):
    with pytest.raises(DataError, match="no words"):
        Guard(STRIP(tiny("encoder")), frr=0.05).fit(["", " "], calibration=toy_dev)
