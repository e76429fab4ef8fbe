"""The training loop: transformers' Trainer, made resumable and reproducible.

`finetune(classifier, train, spec, dev=..., workdir=...)` trains in place. With a `workdir`, every epoch is saved there,
so that a killed run resumes from its last complete epoch and ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from poisonsieve.config import TuneSpec
from poisonsieve.errors import ConfigError, DataError
from poisonsieve.models.classifier import Classifier
from poisonsieve.storage import reporting_write_errors
from poisonsieve.tuning.methods import attach
from poisonsieve.tuning.objective import Objective
from poisonsieve.tuning.trainer import encoded_rows, make_trainer, pick_precision

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class TuneResult:
    """The summary of a training run.

    Attributes:
        epochs: dev accuracy after each epoch, if there was a dev set.
        best_epoch: the epoch whose weights were kept (1-based): the first with the highest dev accuracy, or the last
            epoch without a dev set.
        train_rows: rows per epoch; rows without tokens do not count.
        trained_weights: number of trained parameters.
        truncated_rows: training rows longer than the length limit.
        precision: ``fp32`` or ``bf16``, as used.
        seconds: wall-clock time of the training alone.
        resumed_from: the epoch that an earlier, interrupted run had reached, or 0.
    """

    epochs: list[float] = field(default_factory=list)
    best_epoch: int = 0
    train_rows: int = 0
    trained_weights: int = 0
    truncated_rows: int = 0
    precision: str = "fp32"
    seconds: float = 0.0
    resumed_from: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


def finetune(
    classifier: Classifier,
    train: datasets.Dataset,
    spec: TuneSpec,
    *,
    dev: datasets.Dataset | None = None,
    workdir: Path | None = None,
    progress: str | None = None,
    objective: Objective | None = None,
) -> TuneResult:
    """Train `classifier` in place by `spec`.

    Args:
        classifier: a classifier from `load_classifier`. An adapter opened for training stays that adapter.
        train: columns `text` and `label` (0 ... K-1).
        spec: all settings that determine the result.
        dev: clean held-out rows; the epoch with the best accuracy on them is kept. Without them, the last epoch is.
        workdir: folder for the state of an unfinished run; the caller removes it when the result is safe.
        progress: a label for a progress bar on stderr; no bar without one.
        objective: the objective to minimise; None for the cross-entropy on the labels. It receives the column
            `triggered` (bool) of `train`, if there is one.

    Raises:
        DataError: there are no rows, or a label is not a class of the classifier.
        ConfigError: training diverged: the weights are no longer finite.
        UnsupportedError: the architecture does not support `spec.method`.
        OutputError: the state could not be written.
    """
    _check_labels(classifier, train)
    classifier.wanted_max_length = spec.max_length
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        stack.enter_context(isolated_seed(spec.seed))
        attach(classifier, spec)
        folder = workdir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poisonsieve-")))
        folder.mkdir(parents=True, exist_ok=True)
        encoded = classifier.encode(list(train["text"]))
        _check_tokens(classifier, encoded.ids)
        rows = encoded_rows(encoded.ids, train, with_triggered=objective is not None)
        if objective is not None:
            objective.start(classifier, train)
        trainer = make_trainer(classifier, rows, dev, spec, folder, progress, objective)
        stack.enter_context(reporting_write_errors(folder))
        resumed_from = _run(trainer, classifier, folder)
        trained_weights = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
        if objective is not None:
            objective.finish(classifier)
    classifier.eval()
    _check_finite(classifier, spec)
    history = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
    return TuneResult(
        epochs=history,
        best_epoch=1 + int(np.argmax(history)) if history else spec.epochs,
        train_rows=len(rows),
        trained_weights=trained_weights,
        truncated_rows=sum(encoded.truncated),
        precision=pick_precision(spec.precision),
        seconds=time.perf_counter() - started,
        resumed_from=resumed_from,
    )


def _run(trainer: Any, classifier: Classifier, workdir: Path) -> int:
    """Train to the end; return the epoch from which this run resumed an earlier one, or 0."""
    checkpoint = last_checkpoint(workdir)
    reached = _epoch_of(checkpoint) if checkpoint else 0  # read now, because training removes old checkpoints
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        # accelerate leaves its autocast wrapper on `forward`, but scoring must be in fp32.
        trainer.accelerator.unwrap_model(classifier, keep_fp32_wrapper=False)
    return reached


@contextlib.contextmanager
def isolated_seed(seed: int) -> Iterator[None]:
    """Seed Python, numpy and torch inside the block, and restore the caller's random states afterwards."""
    states = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def last_checkpoint(workdir: Path) -> Path | None:
    """Return the newest complete checkpoint, removing incomplete ones.

    The Trainer writes `trainer_state.json` last, so a checkpoint is complete if that file can be read.
    """
    whole = []
    for folder in workdir.glob("checkpoint-*"):
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            whole.append(folder)
    return max(whole, key=lambda folder: int(folder.name.removeprefix("checkpoint-")), default=None)


def _check_labels(classifier: Classifier, train: datasets.Dataset) -> None:
    if len(train) == 0:
        raise DataError("there are no training rows")
    labels = np.asarray(train["label"])
    classes = len(classifier.label_names)
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"labels run from {labels.min()} to {labels.max()}, the classifier has classes 0 to {classes - 1}"
        )


def _check_tokens(classifier: Classifier, ids: list[list[int]]) -> None:
    """Refuse tokens without an embedding, which occur if tokens were added without resizing the embedding."""
    rows = classifier.embedding_rows
    beyond = 0 if rows is None else sum(max(row, default=0) >= rows for row in ids)
    if beyond:
        raise DataError(
            f"{beyond} of {len(ids)} training rows contain tokens without an embedding in {classifier.named}: its tokenizer "
            f"knows {len(classifier.tokenizer)} tokens, its embedding {rows}; leave those rows out, or resize the embedding"
        )


def _check_finite(classifier: Classifier, spec: TuneSpec) -> None:
    """Refuse weights that are not finite: they predict class 0 for everything, which could pass for an accuracy."""
    if not all(torch.isfinite(p).all() for p in classifier.parameters() if p.requires_grad):
        raise ConfigError(
            f"training diverged: at a learning rate of {spec.learning_rate:g} the weights are no longer finite numbers; "
            "choose a lower one (--lr)"
        )


def _epoch_of(checkpoint: Path) -> int:
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    epoch: float = state["epoch"]
    return round(epoch)
