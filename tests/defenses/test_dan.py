"""DAN beyond what every detector keeps to."""

import numpy as np
import pytest

from poisonsieve import Guard, registry
from poisonsieve.config import TuneSpec
from poisonsieve.defenses import DAN
from poisonsieve.defenses.dan import nearest, precision
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.errors import CheckpointError, ConfigError, DataError
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.tuning import finetune


@pytest.fixture(scope="module", params=["encoder", "decoder"])
def guard(request, tiny, toy_train, toy_dev):
    return Guard(DAN(tiny(request.param)), frr=0.05).fit(toy_train, calibration=toy_dev)


def layers_of(guard, texts):
    """Each layer's distance of each text, on the scale of the held-out rows."""
    dan = guard.detector
    states = dan.classifier.features(list(texts), pooling=dan.pooling_).values
    distances = [nearest(states[:, at], dan.means_[at], dan.precisions_[at]) for at in range(states.shape[1])]
    return (np.stack(distances, axis=1) - dan.center_) / dan.scale_


def test_the_distance_is_mahalanobis_and_squared():
    from scipy.spatial.distance import mahalanobis

    rng = np.random.default_rng(0)
    rows, means = rng.normal(size=(40, 5)), rng.normal(size=(3, 5))
    inverse = precision(rows - rows.mean(axis=0))
    expected = [min(mahalanobis(row, mean, inverse) ** 2 for mean in means) for row in rows]
    np.testing.assert_allclose(nearest(rows, means, inverse), expected)


def test_the_covariance_of_fewer_rows_than_dimensions_can_be_inverted():
    rows = np.random.default_rng(0).normal(size=(6, 30))
    inverse = precision(rows)
    assert np.isfinite(inverse).all()
    assert (np.linalg.eigvalsh(inverse) > 0).all()


def test_the_score_is_the_mean_over_the_layers(guard, toy_test):
    layers = layers_of(guard, toy_test["text"])
    assert layers.shape == (len(toy_test), 2)
    assert layers.dtype == np.float64
    np.testing.assert_allclose(guard.decision_function(toy_test["text"]), layers.mean(axis=1), rtol=1e-12)


def test_layers_are_put_on_one_scale_by_rows_they_were_not_fitted_on(guard, toy_train):
    fitted, held_out = CleanRows.of(toy_train).hold_out(guard.detector.seed)
    assert not set(fitted.texts) & set(held_out)
    layers = layers_of(guard, held_out)
    np.testing.assert_allclose(layers.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(layers.std(axis=0, ddof=1), 1, rtol=1e-9)


def test_strange_text_is_far_from_all_classes(guard, toy_test):
    strange = guard.decision_function(["mn cf mn cf mn cf mn", "watched watched watched watched"])
    assert strange.min() > np.median(guard.decision_function(toy_test["text"]))


def test_classes_are_the_true_ones_where_they_are_known(tiny, toy_train, toy_dev):
    texts, labels = list(toy_train["text"]), list(toy_train["label"])
    model = tiny("encoder")
    predicted = load_classifier(model).score(texts).predictions.tolist()
    assert predicted != labels
    with_labels = Guard(DAN(model), frr=0.05).fit(toy_train, calibration=toy_dev)
    given = Guard(DAN(model), frr=0.05).fit(texts, labels, calibration=toy_dev)
    np.testing.assert_array_equal(given.detector.means_, with_labels.detector.means_)
    without = Guard(DAN(model), frr=0.05).fit(texts, calibration=toy_dev)
    unknown = Guard(DAN(model), frr=0.05).fit(texts, [-1] * len(texts), calibration=toy_dev)
    said = Guard(DAN(model), frr=0.05).fit(texts, predicted, calibration=toy_dev)
    for other in (without, unknown):
        np.testing.assert_allclose(other.detector.means_, said.detector.means_, atol=1e-9)


def test_a_class_of_one_row_breaks_nothing(tiny, toy_train, toy_dev, toy_test):
    texts = list(toy_train["text"])
    fitted, _ = CleanRows.of(texts).hold_out(0)
    alone = texts.index(fitted.texts[0])
    labels = [2 if index == alone else label for index, label in enumerate(toy_train["label"])]
    guard = Guard(DAN(tiny("encoder", labels=3)), frr=0.05).fit(texts, labels, calibration=toy_dev)
    assert guard.detector.means_.shape == (2, 3, 32)
    assert np.isfinite(guard.decision_function(toy_test["text"])).all()


def test_rows_that_cannot_be_read_are_left_out(tiny, toy_train, toy_dev):
    texts, labels = list(toy_train["text"]), list(toy_train["label"])
    guard = Guard(DAN(tiny("decoder")), frr=0.05).fit([*texts, ""], [*labels, 1], calibration=toy_dev)
    assert np.isfinite(guard.detector.center_).all()
    assert np.isfinite(guard.detector.precisions_).all()
    with pytest.raises(DataError, match="can read none"):
        Guard(DAN(tiny("decoder")), frr=0.05).fit([""], calibration=toy_dev)


def test_too_few_rows(tiny, toy_train, toy_dev):
    with pytest.raises(DataError, match=r"is 4, and dan needs 10"):
        Guard(DAN(tiny("encoder")), frr=0.05).fit(list(toy_train["text"])[:20], calibration=toy_dev)


def test_texts_that_all_look_alike(tiny, toy_dev):
    """Without any spread there is nothing to measure by."""
    texts = [f"unknown{index}" for index in range(80)]  # one and the same unknown token
    with pytest.raises(CheckpointError, match="the same features"):
        Guard(DAN(tiny("encoder")), frr=0.05).fit(texts, calibration=toy_dev)


def test_pooling_follows_the_head(tiny, toy_train, toy_dev):
    assert Guard(DAN(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev).detector.pooling_ == "first"
    assert Guard(DAN(tiny("decoder")), frr=0.05).fit(toy_train, calibration=toy_dev).detector.pooling_ == "last"
    mean = Guard(DAN(tiny("encoder"), pooling="mean"), frr=0.05).fit(toy_train, calibration=toy_dev)
    assert mean.detector.pooling_ == "mean"
    with pytest.raises(ConfigError, match="seen no other"):
        Guard(DAN(tiny("decoder"), pooling="first"), frr=0.05).fit(toy_train, calibration=toy_dev)
    with pytest.raises(ConfigError, match=r"pooling: .*'first', 'mean' or 'last'"):
        Guard(DAN(tiny("encoder"), pooling="max"), frr=0.05).fit(toy_train, calibration=toy_dev)


@pytest.mark.parametrize("method", [name for name in registry.names("tuning") if name != "full"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_adapters(kind, method, tiny, toy_train, toy_dev, toy_test, tmp_path):
    victim = load_classifier(tiny(kind))
    few = toy_train.select(range(100))
    finetune(victim, few, TuneSpec(method=method, epochs=1, learning_rate=1e-2, precision="fp32"))
    (tmp_path / "victim").mkdir()
    save_classifier(victim, tmp_path / "victim")
    guard = Guard(DAN(tmp_path / "victim"), frr=0.05).fit(few, calibration=toy_dev)
    texts = list(toy_test["text"])[:8]
    alone = [guard.decision_function([text])[0] for text in texts]
    np.testing.assert_allclose(guard.decision_function(texts), alone, atol=1e-6)
    guard.save_pretrained(tmp_path / "guard")
    again = Guard.from_pretrained(tmp_path / "guard")
    np.testing.assert_allclose(again.decision_function(texts), alone, atol=1e-6)


def test_a_damaged_state_is_refused(guard, tmp_path):
    from safetensors.numpy import load_file, save_file

    guard.save_pretrained(tmp_path / "guard")
    path = tmp_path / "guard" / "distances.safetensors"
    tensors = load_file(path)
    save_file({name: value for name, value in tensors.items() if name != "scale"}, path)
    with pytest.raises(CheckpointError, match="scale is missing"):
        Guard.from_pretrained(tmp_path / "guard")
