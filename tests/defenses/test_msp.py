"""MSP beyond what every detector keeps to."""

import numpy as np
import pytest

from poisonsieve import Guard
from poisonsieve.defenses import MSP
from poisonsieve.errors import DataError
from poisonsieve.models import load_classifier


def test_it_is_the_models_own_confidence(tiny, toy_train, toy_dev, toy_test):
    guard = Guard(MSP(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)
    logits = load_classifier(tiny("encoder")).score(toy_test["text"]).values
    expected = 1 / (1 + np.exp(-np.abs(logits[:, 0] - logits[:, 1])))
    np.testing.assert_allclose(guard.decision_function(toy_test["text"]), expected, rtol=1e-12)


def test_only_the_calibration_rows_matter(tiny, toy_train, toy_dev, toy_test):
    one = Guard(MSP(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)
    other = Guard(MSP(tiny("encoder")), frr=0.05).fit(toy_test, calibration=toy_dev)
    assert one.threshold_ == other.threshold_


def test_a_fixed_gamma_is_a_probability(tiny, toy_train, toy_dev):
    guard = Guard(MSP(tiny("encoder")), gamma=0.7).fit(toy_train, calibration=toy_dev)
    assert guard.threshold_.gamma == 0.7
    assert guard.threshold_.rule == "fixed"


def test_rows_that_are_marked_as_triggered_are_no_clean_rows(tiny, toy_train, toy_dev):
    marked = toy_train.add_column("triggered", [index < 3 for index in range(len(toy_train))])
    clean = toy_dev.add_column("triggered", [False] * len(toy_dev))
    with pytest.raises(DataError, match="3 of the 160 rows are marked as triggered"):
        Guard(MSP(tiny("encoder")), frr_mean=0.1).fit(marked)
    with pytest.raises(DataError, match="3 of the 160 rows are marked as triggered"):
        Guard(MSP(tiny("encoder")), frr_mean=0.1).fit(toy_dev, calibration=marked)
    Guard(MSP(tiny("encoder")), frr_mean=0.1).fit(clean)
