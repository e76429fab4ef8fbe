"""Guards that an earlier version saved open, and judge as they did.

`saved/` was written by version 0.1.0: a tiny random model, and three guards of it (an adapter, a threshold of several
detectors, a gamma fixed by hand). `expected.json` holds what they said then. Nothing in that folder is ever made anew.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from poisonsieve import Guard, GuardedClassifier
from poisonsieve.errors import ConfigError
from poisonsieve.guard.folder import digest as guard_digest
from poisonsieve.guard.traffic import examine

SAVED = Path(__file__).parent / "saved"
EXPECTED = json.loads((SAVED / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=EXPECTED["guards"])
def saved(request):
    """The folder, what it said then, and the guard as it opens now."""
    folder = SAVED / request.param
    return folder, EXPECTED["guards"][request.param], Guard.from_pretrained(folder, base=SAVED / "model")


def test_scores_are_as_they_were(saved):
    _, then, guard = saved
    np.testing.assert_allclose(guard.decision_function(EXPECTED["texts"]), then["scores"], rtol=0, atol=1e-5)


def test_verdicts_are_as_they_were(saved):
    _, then, guard = saved
    texts = EXPECTED["texts"]
    verdicts = GuardedClassifier(guard).screen(texts)
    # An empty text has been rejected since, whatever its score: no guard can judge it.
    assert [verdict.rejected for verdict in verdicts] == [
        was or not text for was, text in zip(then["rejected"], texts, strict=True)
    ]
    assert [verdict.truncated for verdict in verdicts] == then["truncated"]
    assert guard.threshold_.to_dict() == {**then["threshold"], "frr_confidence": None}


def test_the_digest_that_quarantines_know_them_by_is_as_it_was(saved):
    folder, then, _ = saved
    assert guard_digest(folder) == then["digest"]


def test_it_keeps_no_states_and_says_so_when_texts_are_compared_together(saved):
    _, _, guard = saved
    with pytest.raises(ConfigError, match="fit it again"):
        examine(guard, [f"a film {number}" for number in range(60)])
