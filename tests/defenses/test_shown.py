"""What detectors were shown to stop: the file that ships, and the line that `fit` prints of it."""

import pytest

from poisonsieve import registry
from poisonsieve.defenses import shown
from poisonsieve.defenses.shown import FAMILIES, Shown, in_one_line, shown_for


def test_every_entry_that_ships_is_of_a_known_detector_and_family():
    for detector, entries in shown._record()["detectors"].items():
        assert registry.get("defense", detector), detector
        for found in [Shown(**entry) for entry in entries]:
            assert found.family in FAMILIES and 0 <= found.within <= found.cells and found.cells > 0


def test_the_default_says_what_it_stops_and_what_it_was_not_shown_to_stop():
    from poisonsieve.defenses.specs import DEFAULT_DETECTOR

    line = in_one_line(DEFAULT_DETECTOR, 2)
    assert line.startswith("words ") and "not shown: " in line and "sentence shapes" in line


def test_a_detector_outside_of_the_grid_was_shown_to_stop_nothing():
    assert shown_for("strip") == []
    assert in_one_line("strip", 2) == "nothing yet on two classes: try it on an attack of your own"


@pytest.mark.parametrize(("classes", "line"), [(2, "words 3 of 4"), (5, "words 1 of 2")])
def test_two_classes_and_more_are_told_apart(monkeypatch, classes, line):
    entries = [
        {"family": "word", "classes": 2, "within": 3, "cells": 4},
        {"family": "word", "classes": 4, "within": 1, "cells": 2},
    ]
    monkeypatch.setattr(shown, "_record", lambda: {"models": "MiniLM", "detectors": {"psim": entries}})
    assert in_one_line("psim", classes).startswith(line)
