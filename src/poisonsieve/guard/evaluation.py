"""Evaluation: run clean and triggered rows through guard and victim, and count the outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poisonsieve.guard.guarded import GuardedClassifier
from poisonsieve.metrics import Evaluation, evaluate_guard
from poisonsieve.storage import write_rows

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Scores:
    """Per-sample results on one data set: enough to judge any threshold again without a model.

    Attributes:
        labels: true classes, int, shape (n,).
        predictions: the victim's class for every row, unguarded, int, shape (n,); -1 where it failed.
        confidences: the guard's scores, float64, shape (n,); NaN where a row could not be scored.
        rejected: the guard's verdicts, bool, shape (n,).
        truncated: rows longer than the guard reads, bool, shape (n,).
    """

    labels: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray
    rejected: np.ndarray
    truncated: np.ndarray


def score_rows(guarded: GuardedClassifier, data: datasets.Dataset, *, progress: str | None = None) -> Scores:
    """Run guard and victim on every row of `data`, including those that the guard rejects.

    The victim reads no further than the guard, so that both columns of a result concern the same answers. A guard that
    reads less than its victim therefore costs CA in both; give guard and victim the same length limit.

    Raises:
        ConfigError: there is no victim.
    """
    texts = list(data["text"])
    guard, victim = guarded.read(texts, progress=progress)
    predictions = victim.predictions
    rejected = guarded.flagged(guard) | (predictions < 0)
    return Scores(np.asarray(data["label"]), predictions, guard.scores, rejected, guard.truncated)


def evaluate(guarded: GuardedClassifier, clean: Scores, triggered: Scores, *, target: int) -> Evaluation:
    """Compute CA, ASR, FRR, detection rate and AUROC as defined in docs/design/0001-metrics.md."""
    return evaluate_guard(
        clean_labels=clean.labels,
        clean_predictions=clean.predictions,
        clean_scores=clean.confidences,
        clean_rejected=clean.rejected,
        triggered_labels=triggered.labels,
        triggered_predictions=triggered.predictions,
        triggered_scores=triggered.confidences,
        triggered_rejected=triggered.rejected,
        target=target,
        gamma=guarded.guard.threshold_.gamma,
    )


def evaluation_record(evaluation: Evaluation, clean: Scores, triggered: Scores) -> dict[str, Any]:
    """Return the evaluation, JSON-ready, with the number of rows that were not read to the end."""
    return {
        **evaluation.to_dict(),
        "n_truncated_clean": int(clean.truncated.sum()),
        "n_truncated_triggered": int(triggered.truncated.sum()),
    }


def write_scores(path: Path, clean: Scores, triggered: Scores) -> None:
    """Write every row's scores as Parquet: `set`, `label`, `prediction`, `confidence`, `rejected`, `truncated`.

    Raises:
        OutputError: the file could not be written.
    """
    columns = {"label": "labels", "prediction": "predictions", "confidence": "confidences"}
    columns |= {"rejected": "rejected", "truncated": "truncated"}
    sets = {"clean": clean, "triggered": triggered}
    write_rows(path, {name: {key: getattr(part, of) for key, of in columns.items()} for name, part in sets.items()})
