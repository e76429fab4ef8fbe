"""What every detector has to keep to."""

import inspect
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone

from conftest import dataset, sentences
from poisonsieve import Guard, registry
from poisonsieve.defenses import Detector
from poisonsieve.errors import CalibrationError, CheckpointError, ConfigError, DataError
from poisonsieve.guard.traffic import examine

ODD_TEXTS = ["", "good", "   ", "💥", "a\x00b", "good film " * 400, "mn"]


def is_detector(name):
    found = registry.get("defense", name)
    return inspect.isclass(found) and issubclass(found, Detector)


@pytest.fixture(scope="module", params=[name for name in registry.names("defense") if is_detector(name)])
def kind(request):
    return registry.get("defense", request.param)


@pytest.fixture(scope="module")
def fitted(kind, tiny, toy_train, toy_dev):
    return Guard(kind(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_scores_are_finite_numbers_one_a_text(fitted, toy_test):
    scores = fitted.decision_function(toy_test["text"])
    assert scores.shape == (len(toy_test),)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


def test_order_and_company_do_not_change_a_score(fitted, toy_test):
    texts = list(toy_test["text"])
    scores = fitted.decision_function(texts)
    # A rarity is free of scale: it enlarges the last digits of a toy's confidences, which hardly differ.
    near = 1e-3 if fitted.detector.name in {"cascade", "combined", "psim-rarity", "rarity"} else 1e-6
    np.testing.assert_allclose(fitted.decision_function(texts[::-1])[::-1], scores, atol=near, rtol=near)
    np.testing.assert_allclose([fitted.decision_function([text])[0] for text in texts], scores, atol=near, rtol=near)


def test_several_threads_may_score_at_once(fitted, toy_test):
    texts = [*toy_test["text"][:20], "long " * 300]  # cut: the tokenizer is asked twice, with and without a limit
    alone = fitted.score(texts)
    with ThreadPoolExecutor(4) as threads:
        for together in threads.map(lambda _: fitted.score(texts), range(8)):
            np.testing.assert_allclose(together.scores, alone.scores, atol=1e-6)
            assert together.truncated.tolist() == alone.truncated.tolist()
            assert together.errors == alone.errors


def test_saved_and_loaded_it_judges_the_same(fitted, tmp_path, toy_test):
    fitted.save_pretrained(tmp_path / "guard")
    again = Guard.from_pretrained(tmp_path / "guard")
    assert type(again.detector) is type(fitted.detector)
    assert again.threshold_ == fitted.threshold_
    assert again.label_names == fitted.label_names
    np.testing.assert_allclose(
        again.decision_function(toy_test["text"]), fitted.decision_function(toy_test["text"]), atol=1e-6
    )
    np.testing.assert_array_equal(again.calibration_.scores, fitted.calibration_.scores)


def test_the_guard_folder_says_how_it_was_made(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "guard")
    said = json.loads((tmp_path / "guard" / "guard.json").read_text())
    assert said["defense"] == fitted.detector.name
    assert said["rule"] == "frr"
    assert said["frr"] == 0.05
    assert said["n_calibration"] == 120
    assert said["gamma"] == fitted.threshold_.gamma
    assert {"poisonsieve", "torch", "transformers", "peft"} <= set(said["versions"])


def test_gamma_keeps_the_rate_on_its_own_calibration_rows(fitted, toy_dev):
    assert fitted.predict(toy_dev["text"]).mean() <= 0.05


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_get_a_score_or_a_reason(fitted, text):
    scored = fitted.score([text, "a good film"])
    assert np.isfinite(scored.scores[0]) != bool(scored.errors[0])
    assert np.isfinite(scored.scores[1])


def test_what_cannot_be_scored_is_poisoned(fitted):
    if fitted.classifier is None:
        pytest.skip("no network to break")
    weights = fitted.classifier.base.get_input_embeddings().weight.data
    kept = weights.clone()
    try:
        weights.fill_(float("nan"))
        scored = fitted.score(["a good film"])
        assert scored.errors[0]
        assert np.isnan(scored.scores).all()
        assert fitted.predict(["a good film"]).tolist() == [1]
    finally:
        weights.copy_(kept)


def test_no_texts_no_scores(fitted):
    assert fitted.decision_function([]).shape == (0,)
    assert fitted.predict([]).shape == (0,)


def test_something_that_is_no_string_is_named(fitted):
    with pytest.raises(DataError, match="text 1 is int"):
        fitted.decision_function(["a good film", 7])


def test_with_a_network_it_compares_texts_together(fitted, tmp_path, toy_dev, toy_train):
    """A detector with a network keeps its states of the calibration rows, and finds the same when opened."""
    if fitted.classifier is None:
        assert fitted.reference_ is None
        return
    assert len(fitted.reference_.states) == len(fitted.reference_.classes) == len(toy_dev)
    texts = list(toy_train["text"])
    found = examine(fitted, texts)
    assert found.scores.shape == found.flagged.shape == (len(texts),)
    assert np.isfinite(found.scores).all()
    fitted.save_pretrained(tmp_path / "guard")
    again = examine(Guard.from_pretrained(tmp_path / "guard"), texts)
    np.testing.assert_allclose(again.scores, found.scores, atol=1e-4)


def test_more_than_two_classes(kind, tiny):
    rows = [(text, index % 3) for index, (text, _) in enumerate(sentences(200))]
    guard = Guard(kind(tiny("encoder", labels=3)), frr=0.1).fit(dataset(rows, names=("a", "b", "c")))
    assert guard.decision_function(["a good film"]).shape == (1,)
    assert len(guard.label_names) == 3


def test_too_few_calibration_rows_says_how_many_it_takes(kind, tiny, toy_train):
    with pytest.raises(CalibrationError, match=r"at least 99 .* there are 32"):
        Guard(kind(tiny("encoder")), frr_mean=0.01).fit(toy_train)


def test_training_rows_are_no_calibration_rows(kind, tiny, toy_train):
    with pytest.raises(CalibrationError, match="training rows too"):
        Guard(kind(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_train)


def test_a_row_that_was_trained_on_does_not_calibrate(kind, tiny, toy_train, toy_dev):
    """Real data repeats itself: a repeated row is left out, the others still serve."""
    mixed = list(toy_dev["text"]) + list(toy_train["text"][:30])
    guard = Guard(kind(tiny("encoder")), frr=0.05).fit(toy_train, calibration=mixed)
    assert guard.threshold_.n_calibration == 120


def test_another_threshold_needs_no_training(fitted):
    guard = fitted
    before, calibration = guard.threshold_, guard.calibration_
    try:
        guard.set_threshold(frr=0.2)
        assert guard.threshold_.gamma <= before.gamma
        middle = float(np.median(guard.calibration_.scores))
        guard.set_threshold(gamma=middle)
        assert guard.threshold_.gamma == middle
        with pytest.raises(ConfigError, match="exactly one"):
            guard.set_threshold()
    finally:
        guard.calibration_ = calibration


def test_a_fixed_gamma_that_no_score_exceeds_is_refused(fitted):
    for gamma in (fitted.detector.score_range[1], float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="gamma is"):
            fitted.set_threshold(gamma=gamma)


def test_scores_keep_to_the_range_they_are_said_to_have(fitted, toy_test):
    lowest, highest = fitted.detector.score_range
    scores = fitted.decision_function(toy_test["text"])
    assert (scores >= lowest).all()
    assert (scores <= highest).all()


def test_calibrating_again_keeps_the_rule_in_force(fitted, toy_dev, toy_test):
    before = fitted.calibration_
    try:
        fitted.set_threshold(frr=0.2)
        assert fitted.calibrate(toy_test).threshold_.frr == 0.2
        middle = float(np.median(fitted.calibration_.scores))
        fitted.set_threshold(gamma=middle)
        assert fitted.calibrate(list(toy_dev["text"])).threshold_.gamma == middle
    finally:
        fitted.calibration_ = before


def test_an_error_wins_over_a_score(fitted, monkeypatch):
    from dataclasses import replace

    score = type(fitted.detector)._score

    def contradicts(self, texts, *, progress):
        found = score(self, texts, progress=progress)
        return replace(found, errors=["broken" for _ in texts])

    monkeypatch.setattr(type(fitted.detector), "_score", contradicts)
    assert fitted.predict(["a good film"]).tolist() == [1]


def test_scikit_learn_can_clone_it(kind, tiny):
    guard = Guard(kind(tiny("encoder"), seed=4), frr=0.2)
    copy = clone(guard)
    assert copy.detector.get_params() == guard.detector.get_params()
    assert (copy.frr, copy.gamma) == (guard.frr, guard.gamma)
    assert not hasattr(copy, "calibration_")


def test_unfitted_it_says_so(kind, tiny):
    with pytest.raises(ConfigError, match="fit"):
        Guard(kind(tiny("encoder"))).predict(["a good film"])


def test_a_folder_that_is_no_guard(tmp_path):
    with pytest.raises(CheckpointError, match=r"guard\.json is missing"):
        Guard.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        Guard.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format_version": 99}, "format version 99"),
        ({"gamma": "high"}, "damaged"),
        ({"defense": "nothing"}, "unknown defense"),
    ],
)
def test_a_damaged_guard_is_refused(fitted, tmp_path, change, says):
    fitted.save_pretrained(tmp_path / "guard")
    path = tmp_path / "guard" / "guard.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises((CheckpointError, ConfigError), match=says):
        Guard.from_pretrained(tmp_path / "guard")
