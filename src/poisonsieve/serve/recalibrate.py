"""Gamma once more, from the calibration rows and from what reviewers have said of real traffic.

What a reviewer calls a false alarm is a clean text above gamma: nobody reviews the texts below it. False alarms alone
would say that clean texts score high, and gamma would rise without end. So they are put into their place: beside all
texts that passed in the same time, of which no more is known than that they are at or below gamma. That is enough to
find the quantile, for it only counts how many clean texts lie above a bar.

Gamma is raised only against what each doubt would say:

- A record that nobody has decided counts as poison, not as clean. A text that came in many times counts once.
- The share of false alarms among clean traffic has to be above the rate that was asked for beyond chance: the lower end
  of its 95% interval is. A few false alarms are what was asked for, and no reason to change anything.
- No record that was called poison would pass. If one would, the new gamma is refused.

Gamma is never lowered: how far below it the passed texts lie is not kept.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from poisonsieve import registry
from poisonsieve.defenses.base import CALIBRATION_FILE, GUARD_FILE
from poisonsieve.errors import CalibrationError, CheckpointError, ConfigError, QuarantineError
from poisonsieve.models.safety import read_json
from poisonsieve.serve.facts import guard_digest
from poisonsieve.serve.quarantine import Quarantine
from poisonsieve.serve.tables import cause
from poisonsieve.storage import write_json, writing_folder
from poisonsieve.thresholds import Threshold, gamma_with_traffic

_NOT_COPIED = ("run.json",)


@dataclass(frozen=True)
class Reviewed:
    """What the quarantine knows of a guard's traffic.

    Attributes:
        passed: texts at or below gamma.
        false_alarms: confidences of the texts above gamma that were called false alarms, each text once.
        poison: confidences of the records that were called poison.
        undecided: records above gamma that nobody has decided.
    """

    passed: int
    false_alarms: np.ndarray
    poison: np.ndarray
    undecided: int


@dataclass(frozen=True)
class Recalibration:
    """What became of gamma.

    Attributes:
        before, after: the thresholds.
        reviewed: what it was decided on.
        rate: false alarms among clean traffic, a fraction; None when there was no traffic.
        rate_interval: its 95% interval.
        raised: gamma has changed.
        guard_digest: of the guard before.
    """

    before: Threshold
    after: Threshold
    reviewed: Reviewed
    rate: float | None
    rate_interval: tuple[float, float] | None
    raised: bool
    guard_digest: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "gamma_before": self.before.gamma,
            **self.after.to_dict(),
            "raised": self.raised,
            "passed": self.reviewed.passed,
            "false_alarms": len(self.reviewed.false_alarms),
            "poison": len(self.reviewed.poison),
            "undecided": self.reviewed.undecided,
            "false_alarm_rate": self.rate,
            "false_alarm_interval": None if self.rate_interval is None else list(self.rate_interval),
            "recalibrated_from": self.guard_digest,
        }


def review_of(quarantine: Quarantine, digest: str) -> Reviewed:
    """What the quarantine knows of this guard's traffic.

    Raises:
        QuarantineError: it cannot be read.
    """
    try:
        decided = quarantine.decided(digest)
        passed, undecided = quarantine.passed(digest), quarantine.open_count(digest)
    except SQLAlchemyError as error:
        raise QuarantineError(f"the quarantine cannot be read: {cause(error)}") from None
    poisoned_texts = {sha256 for sha256, _, decision in decided if decision == "poison"}
    once = {
        sha256: confidence
        for sha256, confidence, decision in decided
        if decision == "false_alarm" and sha256 not in poisoned_texts  # who is in doubt is not clean
    }
    poison = [confidence for _, confidence, decision in decided if decision == "poison"]
    return Reviewed(passed, np.array(sorted(once.values())), np.array(sorted(poison)), undecided)


def recalibrate(folder: Path, quarantine: Quarantine, frr: float | None = None) -> Recalibration:
    """Find gamma again for a guard folder; nothing is written.

    Args:
        folder: the guard that was served.
        quarantine: where its records and counts are.
        frr: the false-rejection rate. None: the one the guard was made with.

    Raises:
        CheckpointError: not a guard folder, or a damaged one.
        ConfigError: gamma was fixed by hand, and no rate is given.
        CalibrationError: too few rows for the rate, or a record called poison would pass.
        QuarantineError: the quarantine cannot be read.
    """
    before, scores, highest = _read_guard(folder)
    rate = frr if frr is not None else before.frr
    if rate is None:
        raise ConfigError("this guard's gamma was fixed by hand, not found for a rate; give --frr")
    digest = guard_digest(folder)
    reviewed = review_of(quarantine, digest)
    alarms = len(reviewed.false_alarms)
    clean = reviewed.passed + alarms
    interval = _interval(alarms, clean)
    after = before
    if interval is not None and interval[0] > rate:
        found = gamma_with_traffic(
            scores, rate, passed=reviewed.passed, above=reviewed.false_alarms, gamma=before.gamma
        )
        after = found if found.gamma > before.gamma else before
    _refuse_to_pass(after, reviewed, highest)
    return Recalibration(
        before, after, reviewed, alarms / clean if clean else None, interval, after.gamma > before.gamma, digest
    )


def write_recalibrated(folder: Path, out: Path, done: Recalibration) -> None:
    """Write the guard with the new threshold; weights and calibration scores are copied as they are.

    The calibration scores stay those of the held-out rows: with the false alarms among them, but not the texts that
    passed, a threshold found from them later would be too high.

    Raises:
        OutputError: it could not be written.
    """
    with writing_folder(out) as target:
        shutil.copytree(folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        state = read_json(folder / GUARD_FILE)
        facts = done.to_dict()
        kept = ("gamma_before", "passed", "false_alarms", "undecided", "recalibrated_from")
        history = [*state.get("recalibrations", []), {key: facts[key] for key in kept}]
        write_json(target / GUARD_FILE, {**state, **done.after.to_dict(), "recalibrations": history})


def _read_guard(folder: Path) -> tuple[Threshold, np.ndarray, float]:
    """Threshold, calibration scores, and the highest score there can be. The weights are not opened."""
    if not (folder / GUARD_FILE).is_file():
        raise CheckpointError(f"{folder} is no guard folder: {GUARD_FILE} is missing; give the one that was served")
    state = read_json(folder / GUARD_FILE)
    try:
        fields = {key: state[key] for key in Threshold.__dataclass_fields__ if key in state}
        scores = np.asarray(read_json(folder / CALIBRATION_FILE)["scores"], dtype=np.float64)
        threshold = Threshold.from_dict(fields)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
    return threshold, scores, float(registry.get("defense", str(state.get("defense"))).score_range[1])


def _interval(alarms: int, clean: int) -> tuple[float, float] | None:
    """The exact (Clopper-Pearson) 95% interval of a share; None of nothing."""
    if clean == 0:
        return None
    from scipy.stats import binomtest

    found = binomtest(alarms, clean).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def _refuse_to_pass(after: Threshold, reviewed: Reviewed, highest: float) -> None:
    passing = int(np.sum(reviewed.poison <= after.gamma))
    if passing:
        raise CalibrationError(
            f"gamma would be {after.gamma:.6g}, and {passing} records that were called poison would pass; this guard "
            "cannot tell these from clean text at that rate: fit it again with more clean rows of this traffic, try "
            "another --defense, or take decisions back that were wrong"
        )
    if not after.gamma < highest:
        raise CalibrationError(
            f"gamma would be {after.gamma:.17g}, which no confidence can exceed, so nothing would ever be rejected: fit "
            "the guard again with clean rows of this traffic"
        )
