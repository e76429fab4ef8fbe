"""Scoring: order, odd texts, limits, failures."""

import numpy as np
import pytest

from poisonsieve.errors import DataError
from poisonsieve.models import load_classifier
from poisonsieve.models.results import Logits


@pytest.fixture(params=["encoder", "decoder"])
def classifier(request, tiny):
    return load_classifier(tiny(request.param))


def test_one_row_a_text_in_order(classifier):
    texts = ["a good film", "bad", "the very fine story of a film"]
    together = classifier.score(texts).values
    assert together.shape == (3, 2)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(classifier.score([text]).values[0], row, atol=1e-6)


def test_no_texts(classifier):
    said = classifier.score([])
    assert said.values.shape == (0, 2)
    assert said.errors == []


def test_a_text_without_tokens_has_a_reason(tiny):
    """An encoder's empty text still has its special tokens; a decoder's has nothing."""
    assert load_classifier(tiny("encoder")).score([""]).errors == [None]
    said = load_classifier(tiny("decoder")).score(["a film", "", "a plot"])
    assert said.errors == [None, "no tokens in the text", None]
    assert np.isnan(said.values[1]).all()
    assert np.isfinite(said.values[[0, 2]]).all()


def test_the_length_limit_is_the_smaller_of_wish_and_positions(tiny):
    assert load_classifier(tiny("encoder"), max_length=20).max_length == 20
    assert load_classifier(tiny("encoder"), max_length=4000).max_length == 48


def test_a_text_of_just_the_limit_is_not_truncated(tiny):
    classifier = load_classifier(tiny("encoder"), max_length=20)
    fits, longer = " ".join(["film"] * 18), " ".join(["film"] * 19)
    assert classifier.score([fits, longer]).truncated.tolist() == [False, True]


def test_one_bad_text_does_not_take_its_batch_with_it(classifier, break_on):
    break_on(classifier, "a bad film")
    said = classifier.score(["a good film", "a bad film", "a fine plot"])
    assert said.errors == [None, "model failed: RuntimeError", None]
    assert np.isfinite(said.values[[0, 2]]).all()


def test_text_that_the_tokenizer_cannot_take(classifier):
    """A lone surrogate is a str that cannot be encoded."""
    said = classifier.score(["a good film", "\ud800", "a fine plot"])
    assert said.errors[0] is None
    assert said.errors[2] is None
    assert said.errors[1]
    assert np.isnan(said.values[1]).all()


def test_no_string(classifier):
    with pytest.raises(DataError, match="text 1 is bytes"):
        classifier.score(["a", b"b"])


def test_opened_and_scored_it_stays_in_evaluation_mode(classifier):
    """Switching back and forth would turn dropout on under another thread that is scoring."""
    assert not classifier.training
    classifier.train()
    expected = classifier.score(["a film"]).values
    assert not any(module.training for module in classifier.modules())
    np.testing.assert_array_equal(classifier.score(["a film"]).values, expected)


def test_a_lone_string_is_no_list_of_texts(classifier):
    for texts in ("a film", {"text": "a film"}):
        with pytest.raises(DataError, match="give a list"):
            classifier.score(texts)


def test_a_text_of_a_million_words_is_cut_before_it_is_tokenized(classifier):
    import time

    short, long = "good film " * 100, "good film " * 1_000_000
    started = time.perf_counter()
    said = classifier.score([short, long])
    assert time.perf_counter() - started < 2
    assert said.truncated.tolist() == [True, True]
    np.testing.assert_allclose(said.values[0], said.values[1], atol=1e-6)


def test_reading_less_far_on_request(classifier):
    few = classifier.score(["good film bad plot"], max_length=3)
    assert few.truncated.tolist() == [True]
    assert classifier.score(["good film bad plot"], max_length=4000).truncated.tolist() == [False]


def test_pad_token_text_does_not_move_the_decoders_last_token(tiny):
    """With the pad token among the words, a decoder that looks for it would read the class off another token."""
    classifier = load_classifier(tiny("decoder"))
    end = classifier.tokenizer.pad_token_id
    import torch

    rows = [classifier.encode(["a good film"]).ids[0] + [end], classifier.encode(["a film"]).ids[0]]
    with torch.inference_mode():
        together = classifier(**classifier.pad(rows))["logits"].numpy()
        alone = classifier(**classifier.pad(rows[:1]))["logits"].numpy()
        without = classifier(**classifier.pad([rows[0][:-1]]))["logits"].numpy()
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)
    assert not np.allclose(alone, without, atol=1e-4)


def test_softmax_tells_sure_rows_apart():
    """In float32 both would be exactly 1."""
    probabilities = Logits(np.array([[0.0, 20.0], [0.0, 30.0]]), np.zeros(2, bool), [None, None]).probabilities
    assert probabilities[0, 1] < probabilities[1, 1] < 1
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_a_shorter_reader_reads_a_part_of_what_a_longer_one_reads(tiny):
    """Also when the beginning is cut off: a trigger where only the victim looks would pass."""
    classifier = load_classifier(tiny("encoder"))
    text = " ".join(["film"] * 3000 + ["good"] * 10 + ["bad"] * 5)
    for side in ("right", "left"):
        classifier.tokenizer.truncation_side = side
        long, short = classifier.encode([text], 40).ids[0], classifier.encode([text], 12).ids[0]
        inside = short[1:-1]
        assert any(long[place : place + len(inside)] == inside for place in range(len(long)))
        assert classifier.encode([text], 12).truncated == [True]
