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

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from poisonsieve.errors import CalibrationError, ConfigError, QuarantineError
from poisonsieve.guard import folder as guard_folder
from poisonsieve.serve.quarantine import Quarantine
from poisonsieve.serve.tables import cause
from poisonsieve.thresholds import Threshold, gamma_with_traffic


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
    calibration = guard_folder.read_calibration(folder)
    before = calibration.threshold
    if before is None:
        raise ConfigError("this guard has no threshold yet, so it has had no traffic; give the one that was served")
    rate = frr if frr is not None else before.frr
    if rate is None:
        raise ConfigError("this guard's gamma was fixed by hand, not found for a rate; give --frr")
    digest = guard_folder.digest(folder)
    reviewed = review_of(quarantine, digest)
    alarms = len(reviewed.false_alarms)
    clean = reviewed.passed + alarms
    interval = _interval(alarms, clean)
    after = before
    if interval is not None and interval[0] > rate:
        found = gamma_with_traffic(
            calibration.scores, rate, passed=reviewed.passed, above=reviewed.false_alarms, gamma=before.gamma
        )
        after = found if found.gamma > before.gamma else before
    _refuse_to_pass(after, reviewed)
    calibration.at(after)  # or nothing would be rejected any more
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
    facts = done.to_dict()
    kept = ("gamma_before", "passed", "false_alarms", "undecided", "recalibrated_from")
    guard_folder.write_with_threshold(folder, out, done.after, {key: facts[key] for key in kept})


def _interval(alarms: int, clean: int) -> tuple[float, float] | None:
    """The exact (Clopper-Pearson) 95% interval of a share; None of nothing."""
    if clean == 0:
        return None
    from scipy.stats import binomtest

    found = binomtest(alarms, clean).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def _refuse_to_pass(after: Threshold, reviewed: Reviewed) -> None:
    passing = int(np.sum(reviewed.poison <= after.gamma))
    if passing:
        raise CalibrationError(
            f"gamma would be {after.gamma:.6g}, and {passing} records that were called poison would pass; this guard "
            "cannot tell these from clean text at that rate: fit it again with more clean rows of this traffic, try "
            "another --defense, or take decisions back that were wrong"
        )
