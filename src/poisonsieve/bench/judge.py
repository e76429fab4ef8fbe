"""Compute a cell's metrics from its per-row scores and a threshold; opens no model.

Another threshold, metric or table needs these files alone, and no training.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from poisonsieve import metrics
from poisonsieve.bench.entries import ThresholdEntry
from poisonsieve.bench.plan import CLEAN, TRIGGERED, Stage
from poisonsieve.bench.store import Store
from poisonsieve.guard.folder import read_calibration
from poisonsieve.storage import read_rows
from poisonsieve.thresholds import Threshold, is_flagged

if TYPE_CHECKING:
    import pandas as pd

ROWS_FILE = "rows.parquet"


def threshold_for(stage: Stage, store: Store, rule: ThresholdEntry) -> Threshold | None:
    """Apply a threshold rule to a cell's guard; None for a cell without one.

    Args:
        stage: the cell's scores.
        store: store that holds them.
        rule: a fixed gamma, or a false-rejection rate, which uses the guard's stored calibration scores.

    Raises:
        ConfigError: gamma is outside the range of this detector's scores.
        CalibrationError: there are too few calibration rows for the rate, or no score can exceed gamma.
    """
    if stage.kind != "scores":
        return None
    confidences = stage.needs["confidences"]
    ends = store.run(confidences)["result"]["score_range"]
    low, high = (sign * np.inf if end is None else end for end, sign in zip(ends, (-1, 1), strict=True))
    calibration = read_calibration(store.folder(confidences.needs["guard"]), (low, high))
    return calibration.choose(**rule.rule).threshold


def judge(stage: Stage, store: Store, rule: ThresholdEntry) -> dict[str, Any]:
    """Return CA, ASR and, with a guard, FRR and AUROC, as docs/design/0001-metrics.md defines them. JSON-ready.

    Args:
        stage: the cell's scores, finished.
        store: store that holds them.
        rule: see `threshold_for`.

    Returns:
        `ca`, `asr`, `frr`, `auroc` (as far as they apply), their 95% `intervals`, numbers of rows, the `threshold`,
            and for un-poisoned weights `floor`: the ASR of each attack's triggered rows on a model that nobody
            attacked, with `floor_intervals` and `floor_rows`.

    Raises:
        ConfigError, CalibrationError: see `threshold_for`.
        DataError: there is no row to count.
    """
    sets = read_rows(store.folder(stage) / ROWS_FILE)
    target = store.run(stage)["result"]["target"]
    threshold = threshold_for(stage, store, rule)
    flagged = {name: _flagged(rows, threshold) for name, rows in sets.items()}
    clean = sets[CLEAN]
    rates: dict[str, metrics.Rate] = {"ca": metrics.clean_accuracy(clean.prediction, clean.label, flagged[CLEAN])}
    attacked = sets.get(TRIGGERED)
    if attacked is not None:
        rates["asr"] = metrics.attack_success_rate(attacked.prediction, attacked.label, target, flagged[TRIGGERED])
    counted: dict[str, Any] = {}
    if threshold is not None:
        rates["frr"] = metrics.false_rejection_rate(flagged[CLEAN])
        counted["threshold"] = threshold.to_dict()
        if attacked is not None:
            counted["auroc"] = metrics.auroc(clean.confidence, attacked.confidence[attacked.label != target])
    floors = {
        name.partition(":")[2]: metrics.attack_success_rate(rows.prediction, rows.label, target, flagged[name])
        for name, rows in sets.items()
        if name.startswith(f"{TRIGGERED}:")
    }
    if floors:
        counted["floor"] = {name: rate.value for name, rate in floors.items()}
        counted["floor_intervals"] = {name: [rate.low, rate.high] for name, rate in floors.items()}
        counted["floor_rows"] = {name: rate.n for name, rate in floors.items()}
    return {
        **{name: rate.value for name, rate in rates.items()},
        **counted,
        "intervals": {name: [rate.low, rate.high] for name, rate in rates.items()},
        "n_clean": rates["ca"].n,
        "n_triggered": rates["asr"].n if "asr" in rates else 0,
    }


def lost_to_defence(stage: Stage, undefended: Stage, store: Store, rule: ThresholdEntry) -> dict[str, Any]:
    """Return the CA that a defence costs a victim, row by row; see `metrics.accuracy_lost`. JSON-ready.

    Args:
        stage: the defended cell's scores, finished.
        undefended: scores of the same victim without a defence.
        store: store that holds them.
        rule: see `threshold_for`.
    """
    before, after = (read_rows(store.folder(each) / ROWS_FILE)[CLEAN] for each in (undefended, stage))
    answers = np.where(_flagged(after, threshold_for(stage, store, rule)), -1, after.prediction)
    return asdict(metrics.accuracy_lost(before.prediction, answers, after.label))


def _flagged(rows: pd.DataFrame, threshold: Threshold | None) -> np.ndarray:
    """Return which rows are rejected: above gamma, or without an answer; bool, shape (n,)."""
    failed = rows.prediction.to_numpy() < 0
    if threshold is None:
        return failed
    flagged: np.ndarray = is_flagged(rows.confidence.to_numpy(), threshold.gamma) | failed
    return flagged
