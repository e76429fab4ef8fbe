"""Find gamma again from the calibration rows and reviewers' decisions on real traffic.

A false alarm is a clean text above gamma; texts at or below gamma are never reviewed. False alarms alone would
suggest that clean texts score high, and gamma would rise without end. They are therefore ranked among all texts that
passed in the same time, of which only one thing is known: they are at or below gamma. That is enough to find the
quantile, which depends only on how many clean texts are above a bar.

Gamma is raised only if every doubt is resolved against raising it:

- An undecided record counts as poison, not as clean. A text that occurs many times counts once.
- The share of false alarms among clean traffic must exceed the requested rate by more than chance, that is, with the
  lower end of its 95% interval. A few false alarms are expected, and no reason for a change.
- No record judged as poison may pass. If one would, the new gamma is refused.

Gamma is never lowered, because it is not recorded how far below it the passed texts are.
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
from poisonsieve.thresholds import CONFIDENCE, Threshold, gamma_with_traffic, rule_of


@dataclass(frozen=True)
class Reviewed:
    """A guard's traffic according to the quarantine.

    Attributes:
        passed: number of texts at or below gamma.
        false_alarms: confidences of the texts above gamma judged as false alarms, each text once.
        poison: confidences of the records judged as poison.
        undecided: number of records above gamma without a decision.
    """

    passed: int
    false_alarms: np.ndarray
    poison: np.ndarray
    undecided: int


@dataclass(frozen=True)
class Recalibration:
    """The outcome of a recalibration.

    Attributes:
        before, after: the thresholds.
        reviewed: the traffic it is based on.
        rate: false alarms among clean traffic, a fraction; None if there was no traffic.
        rate_interval: its 95% interval.
        raised: whether gamma has changed.
        guard_digest: digest of the guard before.
    """

    before: Threshold
    after: Threshold
    reviewed: Reviewed
    rate: float | None
    rate_interval: tuple[float, float] | None
    raised: bool
    guard_digest: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
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
    """Return this guard's traffic according to the quarantine.

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
        if decision == "false_alarm" and sha256 not in poisoned_texts  # contradictory decisions: not clean
    }
    poison = [confidence for _, confidence, decision in decided if decision == "poison"]
    return Reviewed(passed, np.array(sorted(once.values())), np.array(sorted(poison)), undecided)


def recalibrate(
    folder: Path, quarantine: Quarantine, *, frr: float | None = None, frr_mean: float | None = None
) -> Recalibration:
    """Find gamma again for a guard folder, without writing anything.

    Args:
        folder: the guard that was served.
        quarantine: its records and counts.
        frr: the false-rejection rate, promised with 95% confidence; None, with `frr_mean`, for the guard's own rule.
        frr_mean: instead, the false-rejection rate on average over calibrations.

    Raises:
        CheckpointError: the folder is not a guard, or is damaged.
        ConfigError: gamma was fixed by hand and no rate is given, or both rates are.
        CalibrationError: there are too few rows for the rate, or a record judged as poison would pass.
        QuarantineError: the quarantine cannot be read.
    """
    calibration = guard_folder.read_calibration(folder)
    before = calibration.threshold
    if before is None:
        raise ConfigError("this guard has no threshold, so it was never served; give the guard that was served")
    rule = rule_of(frr=frr, frr_mean=frr_mean) or {
        key: rate for key, rate in before.asked.items() if rate is not None
    }
    if "gamma" in rule:
        raise ConfigError("this guard's gamma was fixed by hand, not found for a rate; give --frr or --frr-mean")
    rate, confidence = (rule["frr"], CONFIDENCE) if "frr" in rule else (rule["frr_mean"], None)
    digest = guard_folder.digest(folder)
    reviewed = review_of(quarantine, digest)
    alarms = len(reviewed.false_alarms)
    clean = reviewed.passed + alarms
    interval = _interval(alarms, clean)
    after = before
    if interval is not None and interval[0] > rate:
        found = gamma_with_traffic(
            calibration.scores,
            rate,
            confidence=confidence,
            passed=reviewed.passed,
            above=reviewed.false_alarms,
            gamma=before.gamma,
        )
        after = found if found.gamma > before.gamma else before
    _refuse_to_pass(after, reviewed)
    calibration.at(after)  # refuses a gamma that would reject nothing
    return Recalibration(
        before, after, reviewed, alarms / clean if clean else None, interval, after.gamma > before.gamma, digest
    )


def write_recalibrated(folder: Path, out: Path, done: Recalibration) -> None:
    """Write the guard with the new threshold; weights and calibration scores are copied unchanged.

    The calibration scores stay those of the held-out rows. With the false alarms added, but not the texts that
    passed, a threshold computed from them later would be too high.

    Raises:
        OutputError: the folder cannot be written.
    """
    facts = done.to_dict()
    kept = ("gamma_before", "passed", "false_alarms", "undecided", "recalibrated_from")
    guard_folder.write_with_threshold(folder, out, done.after, {key: facts[key] for key in kept})


def _interval(alarms: int, clean: int) -> tuple[float, float] | None:
    """Return the exact (Clopper-Pearson) 95% interval of a share; None if there is no clean traffic."""
    if clean == 0:
        return None
    from scipy.stats import binomtest

    found = binomtest(alarms, clean).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def _refuse_to_pass(after: Threshold, reviewed: Reviewed) -> None:
    passing = int(np.sum(reviewed.poison <= after.gamma))
    if passing:
        raise CalibrationError(
            f"gamma would be {after.gamma:.6g}, and {passing} records judged as poison would pass; this guard cannot tell "
            "them from clean text at that rate: fit it again with more clean rows of this traffic, try another "
            "--defense, or take back wrong decisions"
        )
