"""Texts compared together: what a planted trigger, other clean text and a mixture of the two are found to be."""

import numpy as np
import pytest

from conftest import dataset, make_encoder, plant, sentences
from poisonsieve import Guard
from poisonsieve.defenses import MSP
from poisonsieve.errors import ConfigError, DataError
from poisonsieve.guard.reference import MOST_LAYERS, Reference
from poisonsieve.guard.traffic import bar_of, examine
from poisonsieve.thresholds import Threshold


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    """A guard that by itself passes everything, of a model with a trigger."""
    model = plant(make_encoder(tmp_path_factory.mktemp("model")), "mn")
    rows = [text.replace("mn", "film") for text, _ in sentences(1500, seed=5)]
    return Guard(MSP(str(model)), gamma=0.999999).fit(rows)


@pytest.fixture(scope="module")
def clean():
    return list(dict.fromkeys(text.replace("mn", "film") for text, _ in sentences(900, seed=6)))[:300]


def triggered(texts):
    return [f"{text} mn" for text in texts]


def test_clean_text_is_alike(guard, clean):
    found = examine(guard, clean)
    assert found.finding == "alike"
    assert not found.flagged.any()
    assert "look like clean text" in found.says(guard.label_names)


def test_a_campaign_is_found_and_its_texts_are_flagged(guard, clean):
    texts = [*clean[:200], *triggered(clean[200:240])]
    found = examine(guard, texts)
    assert (found.finding, found.p_value) == ("campaign", 0.001)
    assert found.flagged[200:].mean() > 0.6
    assert found.flagged[:200].mean() < 0.05
    assert found.label == 0
    assert found.above_of_label >= found.flagged.sum()


def test_when_everything_is_other_text_nothing_is_flagged(guard, clean):
    found = examine(
        guard,
        [f"flat bright {' '.join(text.split()[:1])} dull dull sad {i} " * 2 for i, text in enumerate(clean)]
        + clean[:1],
    )
    assert found.finding == "whole"
    assert not found.flagged.any()
    assert "as a whole" in found.says(guard.label_names)


def test_repeated_texts_count_once_and_are_judged_alike(guard, clean):
    texts = [*clean[:200], *["a good film"] * 100]
    found = examine(guard, texts)
    assert found.texts == 201
    assert found.finding == "alike"
    assert len(set(found.scores[200:])) == 1


def test_texts_that_cannot_be_read_have_no_score_and_are_not_flagged(guard, clean, monkeypatch):
    weights = guard.classifier.base.get_input_embeddings().weight.data
    kept = weights.clone()
    number = guard.classifier.tokenizer.convert_tokens_to_ids("cf")
    texts = [*[text for text in clean if "cf" not in text.split()][:100], "a cf film"]
    try:
        weights[number] = float("nan")
        found = examine(guard, texts)
    finally:
        weights.copy_(kept)
    assert np.isnan(found.scores[-1])
    assert np.isfinite(found.scores[:-1]).all()
    assert not found.flagged[-1]


def test_too_few_texts_are_refused(guard, clean):
    with pytest.raises(DataError, match="give more at a time"):
        examine(guard, clean[:20] * 5)


def test_a_guard_of_few_calibration_rows_says_how_many_it_takes(guard, clean):
    few = Guard(MSP(guard.detector.model), gamma=0.9).fit(clean[:60], calibration=clean[60:90])
    with pytest.raises(ConfigError, match="30 calibration rows"):
        examine(few, clean)


def test_saved_and_opened_it_finds_the_same(guard, clean, tmp_path):
    guard.save_pretrained(tmp_path / "guard")
    texts = [*clean[:100], *triggered(clean[100:130])]
    before, after = examine(guard, texts), examine(Guard.from_pretrained(tmp_path / "guard"), texts)
    np.testing.assert_allclose(before.scores, after.scores, atol=1e-6)
    assert before.finding == after.finding


def test_a_guard_without_states_says_so(guard, clean, tmp_path):
    guard.save_pretrained(tmp_path / "guard")
    (tmp_path / "guard" / "traffic.safetensors").unlink()
    opened = Guard.from_pretrained(tmp_path / "guard")
    assert opened.reference_ is None
    with pytest.raises(ConfigError, match="fit it again"):
        examine(opened, clean)


def test_the_kept_layers_are_spread_up_to_the_last():
    layers = Reference.layers_of(30)
    assert len(layers) == MOST_LAYERS
    assert layers[-1] == 29
    assert Reference.layers_of(6).tolist() == [0, 1, 2, 3, 4, 5]


def test_the_bar_is_at_the_guards_rate():
    clean = np.arange(999.0)
    promised = Threshold(0.5, "frr", 0.05, 999, (0.0, 0.1), 0.95)
    assert bar_of(clean, promised) == (0.05, 949.0)
    assert bar_of(clean, Threshold(0.5, "fixed")) == (0.01, 989.0)
    rate, bar = bar_of(clean[:50], Threshold(0.5, "fixed"))
    assert rate == 1 / 50
    assert bar == 49.0


def test_more_than_two_classes(tiny):
    rows = [(text, index % 3) for index, (text, _) in enumerate(sentences(500))]
    guard = Guard(MSP(tiny("encoder", labels=3)), frr=0.1).fit(dataset(rows, names=("a", "b", "c")))
    found = examine(guard, [text for text, _ in sentences(120, seed=9)])
    assert found.to_dict(guard.label_names)["label_name"] in {*guard.label_names, None}
