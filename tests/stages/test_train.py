"""Stages: once, alone, whole."""

import pytest

from poisonsieve.errors import ConfigError, DataError
from poisonsieve.stages.keep import run_stage


def writes(text="done"):
    def work(partial):
        (partial / "state").write_text("unfinished")
        return lambda target: (target / "result").write_text(text), {"said": text}

    return work


def refuses(partial):
    raise AssertionError("ran again")


def test_a_stage_runs_once(tmp_path):
    first = run_stage(tmp_path / "out", {"a": 1}, writes())
    again = run_stage(tmp_path / "out", {"a": 1}, refuses)
    assert (first.reused, again.reused) == (False, True)
    assert again.result == first.result == {"said": "done"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_another_spec_is_not_taken_for_it(tmp_path):
    run_stage(tmp_path / "out", {"a": 1}, writes())
    with pytest.raises(ConfigError, match="--force"):
        run_stage(tmp_path / "out", {"a": 2}, writes("other"))
    assert (tmp_path / "out" / "result").read_text() == "done"
    run_stage(tmp_path / "out", {"a": 2}, writes("other"), force=True)
    assert (tmp_path / "out" / "result").read_text() == "other"


def test_two_at_once_are_kept_apart(tmp_path):
    def meanwhile(partial):
        with pytest.raises(ConfigError, match="another process"):
            run_stage(tmp_path / "out", {"a": 1}, refuses)
        return writes()(partial)

    run_stage(tmp_path / "out", {"a": 1}, meanwhile)
    assert (tmp_path / "out" / "result").read_text() == "done"


def test_after_a_failure_the_next_may_try(tmp_path):
    def fails(partial):
        raise DataError("no rows")

    with pytest.raises(DataError):
        run_stage(tmp_path / "out", {"a": 1}, fails)
    assert not (tmp_path / "out").exists()
    run_stage(tmp_path / "out", {"a": 1}, writes())


def test_unfinished_state_is_kept_for_the_same_spec_only(tmp_path):
    def interrupted(partial):
        (partial / "checkpoint-1").mkdir()
        raise KeyboardInterrupt

    def looks(expected):
        def work(partial):
            assert (partial / "checkpoint-1").exists() == expected
            return writes()(partial)

        return work

    for name, spec, expected in (("same", {"a": 1}, True), ("other", {"a": 2}, False)):
        with pytest.raises(KeyboardInterrupt):
            run_stage(tmp_path / name, {"a": 1}, interrupted)
        run_stage(tmp_path / name, spec, looks(expected))
