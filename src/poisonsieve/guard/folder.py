"""The guard folder: the only module that knows its files and their format.

Beside the detector's own files there are ``guard.json`` (detector, threshold, versions), ``calibration.json`` (the
sorted scores) and ``traffic.safetensors`` (the calibration rows' hidden states, see `poisonsieve.guard.reference`);
``victim/`` may hold a victim. None of them contains text, but for the trigger in ``asked.json`` (what the guard makes of
what an audit found).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poisonsieve import registry
from poisonsieve.environment import versions
from poisonsieve.errors import CheckpointError, ConfigError
from poisonsieve.guard.calibration import Calibration
from poisonsieve.parsing import read_json
from poisonsieve.storage import canonical_hash, require_free, sha256_file, write_json, writing_folder
from poisonsieve.thresholds import Threshold

if TYPE_CHECKING:
    from poisonsieve.defenses.detector import Detector
    from poisonsieve.guard.reference import Reference

VICTIM = "victim"
FORMAT_VERSION = 1
_GUARD_FILE = "guard.json"
_CALIBRATION_FILE = "calibration.json"
#: Written by the command line; irrelevant to any verdict.
_RUN_FILE, _ASKED_FILE, _README = "run.json", "asked.json", "README.md"


def is_guard(folder: Path) -> bool:
    """Return whether the folder holds a saved guard."""
    return (folder / _GUARD_FILE).is_file()


def require_room(folder: Path, *, overwrite: bool) -> None:
    """Refuse to replace (and so delete) a guard unless told to, and anything else in any case.

    Raises:
        ConfigError: the folder holds a guard and `overwrite` is off, or it holds something else.
        OutputError: the folder cannot be written.
    """
    if not is_guard(folder):
        require_free(folder)
    elif not overwrite:
        raise ConfigError(f"{folder} holds a guard; save_pretrained(..., overwrite=True) replaces it")


def write(folder: Path, detector: Detector, calibration: Calibration, reference: Reference | None) -> None:
    """Write a guard's files into an existing, empty folder. Atomicity is the caller's responsibility."""
    state = detector.save(folder)
    if reference is not None:
        reference.write(folder)
    write_json(folder / _CALIBRATION_FILE, {"scores": calibration.scores.tolist()})
    write_json(
        folder / _GUARD_FILE,
        {
            "format_version": FORMAT_VERSION,
            "defense": detector.name,
            **calibration.to_dict(),
            **state,
            "versions": versions(),
        },
    )


def write_asked(folder: Path, answer: dict[str, Any]) -> None:
    """Keep in a guard folder what the guard makes of what an audit found; see `poisonsieve.auditing.asking.Asked`."""
    write_json(folder / _ASKED_FILE, answer)


def read_state(folder: Path) -> dict[str, Any]:
    """Read ``guard.json``.

    Raises:
        CheckpointError: not a guard folder, or one of a newer version.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no guard folder: it does not exist; make one with poisonsieve fit")
    if not is_guard(folder):
        raise CheckpointError(f"{folder} is no guard folder: {_GUARD_FILE} is missing; make one with poisonsieve fit")
    state = read_json(folder / _GUARD_FILE)
    if state.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder / _GUARD_FILE} has format version {state.get('format_version')}, this poisonsieve reads "
            f"{FORMAT_VERSION}; update poisonsieve or fit the guard again"
        )
    return state


def read_calibration(folder: Path, score_range: tuple[float, float] | None = None) -> Calibration:
    """Read scores and threshold, without opening a model.

    Args:
        folder: a guard folder.
        score_range: score range of its detector, if known. None: look the detector up by name.

    Raises:
        CheckpointError: not a guard folder, one of a newer version, or a damaged one.
        CalibrationError: no score can exceed its gamma.
        ConfigError: its detector is not registered.
    """
    state = read_state(folder)
    ends: dict[str, Any] = {"score_range": score_range}
    if score_range is None:
        kind = registry.get("defense", str(state.get("defense")))
        ends = {"score_range": kind.score_range, "advice": kind.advice}
    rule = {key: state[key] for key in Threshold.__dataclass_fields__ if key in state}
    try:
        scores = np.asarray(read_json(folder / _CALIBRATION_FILE)["scores"], dtype=np.float64)
        calibration = Calibration(scores, int(state.get("calibration_unscored", 0)), **ends)
        return calibration.at(Threshold.from_dict(rule)) if rule else calibration
    except (KeyError, TypeError, ValueError, OverflowError, ConfigError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None


def write_with_threshold(folder: Path, out: Path, threshold: Threshold, history: dict[str, Any]) -> None:
    """Write a copy of a guard with another threshold; all other files, calibration scores included, stay the same.

    Args:
        folder: the guard.
        out: folder for the copy.
        threshold: threshold of the copy.
        history: entry to add to its record of recalibrations.

    Raises:
        CheckpointError: see `read_state`.
        OutputError: the copy could not be written.
    """
    state = read_state(folder)
    with writing_folder(out) as target:
        shutil.copytree(folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_RUN_FILE, _ASKED_FILE))
        done = [*state.get("recalibrations", []), history]
        write_json(target / _GUARD_FILE, {**state, **threshold.to_dict(), "recalibrations": done})


def digest(folder: Path) -> str:
    """Return the hex sha256 of a guard's files, names and contents, except reports and the victim beside it.

    Raises:
        CheckpointError: a file of the folder is missing or damaged.
    """
    files = {
        path.relative_to(folder).as_posix(): _file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in (_RUN_FILE, _ASKED_FILE, _README)
        and path.relative_to(folder).parts[0] != VICTIM
        and not path.name.startswith(".")
    }
    return canonical_hash(files)


def _file_digest(path: Path) -> str:
    if path.name == _GUARD_FILE:  # the versions it was made with affect no verdict
        return canonical_hash({key: value for key, value in read_json(path).items() if key != "versions"})
    if path.name == _CALIBRATION_FILE:
        return canonical_hash(read_json(path))
    return sha256_file(path)
