"""Metrics of a guard, as functions of plain arrays.

Everything here is counting: from stored labels, predictions, scores and verdicts to rates; nothing is trained or scored
again. The counting rules are specified, with a worked example, in docs/design/0001-metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from poisonsieve.errors import DataError

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

_Z95 = 1.959963984540054  # the normal quantile of a central 95% interval


@dataclass(frozen=True)
class Rate:
    """A share of rows, `count` of `n`, as `value`, and its 95% Wilson score interval; fractions in [0, 1]."""

    value: float
    low: float
    high: float
    count: int
    n: int

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class Difference:
    """Accuracy before minus accuracy after, on the same rows, with a 95% interval; fractions in [-1, 1].

    `lost` of the `n` rows went from right to wrong and `gained` the other way; `value` is (lost - gained) / n.
    """

    value: float
    low: float
    high: float
    lost: int
    gained: int
    n: int


@dataclass(frozen=True)
class Evaluation:
    """The effect of a guard on one victim and one test set; `poisonsieve evaluate --json` prints `to_dict()`.

    Every rate is a fraction in [0, 1]. Triggered rows whose true label is the target count nowhere.

    Attributes:
        ca: clean accuracy of the victim alone.
        asr: attack success rate against the victim alone.
        guarded_ca: clean accuracy when a flagged clean row counts as wrong.
        guarded_asr: attack success rate when a flagged triggered row counts as defended.
        ca_lost: `ca` - `guarded_ca`, the share of clean rows that were right and are now flagged.
        auroc: chance that a triggered row scores above a clean one, a tie counting half.
        frr: false-rejection rate, the share of clean rows flagged.
        detection_rate: share of triggered rows flagged.
        far: false-acceptance rate, the share of triggered rows not flagged.
        gamma: the threshold with which the verdicts were made.
        n_clean: clean rows.
        n_triggered: triggered rows whose true label is not the target.
        intervals: the 95% Wilson interval of each rate, by the rate's name.
    """

    ca: float
    asr: float
    guarded_ca: float
    guarded_asr: float
    ca_lost: float
    auroc: float
    frr: float
    detection_rate: float
    far: float
    gamma: float
    n_clean: int
    n_triggered: int
    intervals: Mapping[str, Rate]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; `intervals` maps each rate's name to its low, high, count and n."""
        values: dict[str, Any] = asdict(self)
        for interval in values["intervals"].values():
            del interval["value"]
        return values


def clean_accuracy(predictions: npt.ArrayLike, labels: npt.ArrayLike, rejected: npt.ArrayLike | None = None) -> Rate:
    """Compute CA: the share of all clean rows that are predicted correctly and not rejected.

    Args:
        predictions: the victim's classes, integers (n,), for rejected rows too.
        labels: true classes, integers (n,).
        rejected: the guard's verdicts, booleans (n,); None for an unguarded victim.

    Raises:
        DataError: there are no rows, or the arrays do not match.
    """
    truth, predicted, verdicts = _columns("", labels, predictions, rejected)
    return _rate((predicted == truth) & ~verdicts, "clean")


def attack_success_rate(
    predictions: npt.ArrayLike, labels: npt.ArrayLike, target: int, rejected: npt.ArrayLike | None = None
) -> Rate:
    """Compute ASR: of triggered rows whose true label is not `target`, the share not rejected and predicted as `target`.

    With the predictions of an un-poisoned model it gives the floor: what the rewriting itself sends to the target class
    without any backdoor, as a syntactic trigger garbles some texts. Report it next to the ASR.

    Args:
        predictions: the victim's classes on triggered texts, integers (n,), for rejected rows too.
        labels: true classes, integers (n,).
        target: the class that the attacker wants.
        rejected: the guard's verdicts, booleans (n,); None for an unguarded victim.

    Raises:
        DataError: no row has a true label other than `target`, or the arrays do not match.
    """
    truth, predicted, verdicts = _columns("", labels, predictions, rejected)
    return _rate(((predicted == target) & ~verdicts)[_attacked(truth, target)], "triggered")


def false_rejection_rate(rejected: npt.ArrayLike) -> Rate:
    """Compute FRR: the share of clean rows rejected, whatever the victim's prediction; booleans (n,)."""
    return _rate(_column("rejected", rejected, "b"), "clean")


def detection_rate(rejected: npt.ArrayLike, labels: npt.ArrayLike, target: int) -> Rate:
    """Compute the share of triggered rows rejected, over rows whose true label is not `target`.

    Arrays and errors are those of `attack_success_rate`; the victim's predictions play no part.
    """
    truth = _column("labels", labels, "iu")
    return _rate(_column("rejected", rejected, "b", truth.size)[_attacked(truth, target)], "triggered")


def false_acceptance_rate(rejected: npt.ArrayLike, labels: npt.ArrayLike, target: int) -> Rate:
    """Compute FAR: 1 - `detection_rate`, the share of triggered rows not rejected; same arguments and errors."""
    return detection_rate(~_column("rejected", rejected, "b"), labels, target)


def auroc(clean_scores: npt.ArrayLike, triggered_scores: npt.ArrayLike) -> float:
    """Compute the chance that a random triggered row scores above a random clean row; a tie counts half.

    Args:
        clean_scores: floats (n,), higher = more poisoned; see `score_ranks` for those that are not finite.
        triggered_scores: floats (m,).

    Raises:
        DataError: one of the groups is empty, so that there is nothing to compare.
    """
    from sklearn.metrics import roc_auc_score

    ranks, is_triggered = score_ranks(clean_scores, triggered_scores)
    return float(roc_auc_score(is_triggered, ranks))


def score_ranks(clean_scores: npt.ArrayLike, triggered_scores: npt.ArrayLike) -> tuple[IntArray, BoolArray]:
    """Turn both groups' scores into ranks, keeping order and ties.

    A score that is not finite belongs to a row that could not be scored. The guard rejects such a row, so it ranks above
    every finite score, in either group.

    Returns:
        The ranks, integers (n + m,), clean rows first, and which of them are triggered, booleans (n + m,).

    Raises:
        DataError: one of the groups is empty.
    """
    groups = {"clean": _column("clean_scores", clean_scores, "fiu")}
    groups["triggered"] = _column("triggered_scores", triggered_scores, "fiu")
    for name, group in groups.items():
        if not group.size:
            raise DataError(f"AUROC needs rows of both kinds and there are no {name} rows; score some {name} rows")
    scores = np.concatenate(list(groups.values()), dtype=np.float64)
    _, ranks = np.unique(np.where(np.isfinite(scores), scores, np.inf), return_inverse=True)
    return ranks, np.arange(scores.size) >= groups["clean"].size


def accuracy_lost(before: npt.ArrayLike, after: npt.ArrayLike, labels: npt.ArrayLike) -> Difference:
    """Compute the CA lost between two sets of predictions on the same clean rows, for a defence that can also gain rows.

    Such a defence rewrites texts or repairs weights. A guard can only lose rows, so its loss is a plain rate
    (`Evaluation.ca_lost`). The comparison is paired: only rows on which the two disagree widen the interval, which is
    Wald's with half a row added to each of the four cells (Agresti and Min 2005, Statistics in Medicine 24).

    All three arrays are integers (n,): classes predicted without the defence, with it, and the true classes.

    Raises:
        DataError: there are no rows, or the arrays do not match.
    """
    truth = _column("labels", labels, "iu")
    was_right = _column("before", before, "iu", truth.size) == truth
    is_right = _column("after", after, "iu", truth.size) == truth
    _require_rows(truth, "clean")
    n, lost, gained = truth.size, int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())
    centre = (lost - gained) / (n + 2)
    reach = _Z95 * math.sqrt((lost + gained + 1) - (lost - gained) ** 2 / (n + 2)) / (n + 2)
    return Difference((lost - gained) / n, max(-1.0, centre - reach), min(1.0, centre + reach), lost, gained, n)


def evaluate_guard(
    *,
    clean_labels: npt.ArrayLike,
    clean_predictions: npt.ArrayLike,
    clean_scores: npt.ArrayLike,
    clean_rejected: npt.ArrayLike,
    triggered_labels: npt.ArrayLike,
    triggered_predictions: npt.ArrayLike,
    triggered_scores: npt.ArrayLike,
    triggered_rejected: npt.ArrayLike,
    target: int,
    gamma: float,
) -> Evaluation:
    """Compute all metrics of one guard in front of one victim.

    The `clean_` arrays have shape (n,), the `triggered_` arrays (m,). Labels are true classes; predictions are the
    unguarded victim's on all rows; scores are the guard's confidences, not finite where a row could not be scored;
    rejected are the guard's verdicts, booleans. `gamma` is recorded, not applied again.

    Raises:
        DataError: arrays do not match, a group is empty, every triggered row carries the target label, or gamma is
            not a finite number.
    """
    if not math.isfinite(gamma):
        raise DataError(f"gamma is {gamma}; give the finite bar that the verdicts were made with")
    scores = _column("clean_scores", clean_scores, "fiu", np.size(clean_labels))
    truth, predicted, flagged = _columns("clean_", clean_labels, clean_predictions, clean_rejected)
    suspicions = _column("triggered_scores", triggered_scores, "fiu", np.size(triggered_labels))
    labels, outcomes, caught = _columns("triggered_", triggered_labels, triggered_predictions, triggered_rejected)
    rates = {
        "ca": clean_accuracy(predicted, truth),
        "asr": attack_success_rate(outcomes, labels, target),
        "guarded_ca": clean_accuracy(predicted, truth, flagged),
        "guarded_asr": attack_success_rate(outcomes, labels, target, caught),
        "ca_lost": _rate((predicted == truth) & flagged, "clean"),
        "frr": false_rejection_rate(flagged),
        "detection_rate": detection_rate(caught, labels, target),
        "far": false_acceptance_rate(caught, labels, target),
    }
    return Evaluation(
        **{name: rate.value for name, rate in rates.items()},
        auroc=auroc(scores, suspicions[_attacked(labels, target)]),
        gamma=float(gamma),
        n_clean=truth.size,
        n_triggered=rates["asr"].n,
        intervals=rates,
    )


def _columns(
    prefix: str, labels: npt.ArrayLike, predictions: npt.ArrayLike, rejected: npt.ArrayLike | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], BoolArray]:
    truth = _column(f"{prefix}labels", labels, "iu")
    predicted = _column(f"{prefix}predictions", predictions, "iu", truth.size)
    verdicts = np.zeros(truth.size, bool) if rejected is None else rejected
    return truth, predicted, _column(f"{prefix}rejected", verdicts, "b", truth.size)


def _column(name: str, values: npt.ArrayLike, kinds: str, n: int | None = None) -> npt.NDArray[Any]:
    """Return `values` as an array (n,), whose dtype kind must be one of numpy's letters in `kinds`."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{name} has shape {array.shape}; give one value a row")
    if n is not None and array.size != n:
        raise DataError(f"{name} has {array.size} rows and the labels have {n}; give one value for each row")
    if array.size and array.dtype.kind not in kinds:
        wanted = {"b": "booleans", "iu": "whole numbers"}.get(kinds, "numbers")
        raise DataError(f"{name} holds {array.dtype}; give {wanted}")
    return array.astype(bool) if kinds == "b" else array


def _attacked(labels: npt.NDArray[Any], target: int) -> BoolArray:
    attacked: BoolArray = labels != target
    if not attacked.any():
        raise DataError(
            f"no triggered row has a true label other than the target {target}; add rows of other classes"
        )
    return attacked


def _require_rows(rows: npt.NDArray[Any], kind: str) -> None:
    if not rows.size:
        raise DataError(f"there are no {kind} rows to count; give at least one")


def _rate(hits: npt.NDArray[Any], kind: str) -> Rate:
    from scipy.stats import binomtest

    _require_rows(hits, kind)
    count, n = int(hits.sum()), hits.size
    interval = binomtest(count, n).proportion_ci(0.95, method="wilson")
    return Rate(count / n, float(interval.low), float(interval.high), count, n)
