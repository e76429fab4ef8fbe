"""The memory of slow answers: what was kept comes back whole, to its own scope alone, and no text is in the file."""

import numpy as np
import pytest

from poisonsieve.errors import OutputError
from poisonsieve.rewriting.memory import Memory


def test_answers_come_back_with_their_share_of_the_seconds(tmp_path):
    memory = Memory(tmp_path / "sub" / "memory.sqlite", "a")
    assert memory.recall(["one"]) == {}
    memory.keep({"one": np.array([1.5, np.nan]), "two \ud800": np.array([])}, 3.0)
    known = Memory(tmp_path / "sub" / "memory.sqlite", "a").recall(["two \ud800", "one", "three"])
    assert set(known) == {"one", "two \ud800"}
    np.testing.assert_array_equal(known["one"][0], [1.5, np.nan])
    assert known["two \ud800"][0].shape == (0,)
    assert known["one"][1] == 1.5


def test_another_scope_knows_nothing(tmp_path):
    Memory(tmp_path / "m", "a").keep({"one": np.array([1.0])}, 1.0)
    assert Memory(tmp_path / "m", "b").recall(["one"]) == {}


def test_a_later_answer_replaces_an_earlier_one(tmp_path):
    memory = Memory(tmp_path / "m", "a")
    memory.keep({"one": np.array([1.0])}, 1.0)
    memory.keep({"one": np.array([2.0])}, 4.0)
    assert memory.recall(["one"])["one"] == (np.array([2.0]), 4.0)


def test_texts_are_not_in_the_file(tmp_path):
    Memory(tmp_path / "m", "a").keep({"a secret sentence": np.array([1.0])}, 1.0)
    assert b"secret" not in (tmp_path / "m").read_bytes()


def test_a_file_that_is_no_memory_is_named(tmp_path):
    (tmp_path / "m").write_text("not a database " * 100)
    with pytest.raises(OutputError, match="delete it"):
        Memory(tmp_path / "m", "a").recall(["one"])
