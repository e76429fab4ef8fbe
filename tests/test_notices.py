"""Hearing warnings of ours, and leaving those of others alone."""

import warnings

import pytest

from poisonsieve.errors import PoisonsieveWarning
from poisonsieve.notices import hearing


@pytest.mark.parametrize("action", ["ignore", "error", "default"])
def test_ours_are_heard_once_for_each_text_whatever_the_filters(action):
    heard = []
    with warnings.catch_warnings(), hearing(heard.append):
        warnings.simplefilter(action)
        for text in ("one", "two", "one"):
            warnings.warn(text, PoisonsieveWarning, stacklevel=2)
        warnings.warn(PoisonsieveWarning("three"), stacklevel=2)
    assert heard == ["one", "two", "three"]


def test_those_of_others_come_from_where_they_were_raised():
    with pytest.warns(UserWarning, match="theirs") as caught, hearing(pytest.fail):
        warnings.warn("theirs", stacklevel=1)
    assert caught[0].filename == __file__


def test_the_innermost_hears_and_afterwards_nobody():
    outer, inner = [], []
    before = warnings.warn
    with hearing(outer.append):
        with hearing(inner.append):
            warnings.warn("in", PoisonsieveWarning, stacklevel=2)
        warnings.warn("out", PoisonsieveWarning, stacklevel=2)
    assert (outer, inner) == (["out"], ["in"])
    assert warnings.warn is before


def test_it_is_a_user_warning_where_nobody_hears():
    with pytest.warns(UserWarning, match="alone"):
        warnings.warn("alone", PoisonsieveWarning, stacklevel=2)
