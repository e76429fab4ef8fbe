"""Several detectors as one: what decides, and that one rate holds for all of them together."""

import numpy as np
import pytest

from poisonsieve import Guard
from poisonsieve.defenses import Combined, Detector
from poisonsieve.errors import ConfigError


def test_the_member_that_suspects_most_decides(tiny, toy_train, toy_dev, toy_test):
    guard = Guard(Combined(tiny("encoder"), of="msp+dan"), frr=0.05).fit(toy_train, calibration=toy_dev)
    texts = list(toy_test["text"])
    members, references = guard.detector.members_, guard.detector.references_
    each = [references[name](member.score(texts).scores) for name, member in members.items()]
    np.testing.assert_allclose(guard.decision_function(texts), np.max(each, axis=0))
    assert 0 < np.mean(each[0] > each[1]) < 1, "each of the two decides some texts"


def test_reference_rows_are_not_fitted_on(tiny, toy_train, toy_dev, monkeypatch):
    seen = {}
    for name in ("MSP", "DAN"):
        kind = getattr(__import__("poisonsieve.defenses", fromlist=[name]), name)
        learn = kind._learn

        def watch(self, rows, progress, learn=learn):
            seen[self.name] = set(rows.texts)
            return learn(self, rows, progress)

        monkeypatch.setattr(kind, "_learn", watch)
    scored = []
    score = Detector.score
    monkeypatch.setattr(
        Detector, "score", lambda self, texts, **options: scored.append(list(texts)) or score(self, texts, **options)
    )
    Guard(Combined(tiny("encoder"), of="msp+dan"), frr=0.05).fit(toy_train, calibration=toy_dev)
    reference = set(scored[0])
    assert reference
    assert not reference & seen["msp"]
    assert not reference & seen["dan"]


@pytest.mark.parametrize("of", ["", "psim", "psim+psim", "psim+combined", "psim+onion", "psim+nothing"])
def test_what_cannot_be_combined_is_refused(tiny, toy_train, toy_dev, of):
    with pytest.raises(ConfigError):
        Guard(Combined(tiny("encoder"), of=of), frr=0.05).fit(toy_train, calibration=toy_dev)
