"""The one training loop: transformers' Trainer, made resumable and reproducible.

`finetune(classifier, train, dev, spec, workdir=...)` trains in place. With a `workdir`, every epoch is saved there, so
that a killed run goes on from its last whole epoch and ends with the same weights as one that was never killed.
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
    """What a training run says of itself.

    Attributes:
        epochs: dev accuracy after each epoch, if there was a dev set.
        best_epoch: the epoch whose weights were kept (1-based): the first with the highest dev accuracy; the last
            epoch when there was no dev set.
        train_rows: rows a training epoch had; a row without a token is none.
        trained_weights: how many numbers were trained.
        truncated_rows: training rows longer than the length limit.
        precision: ``fp32`` or ``bf16``, as it was run.
        seconds: wall-clock time of the training alone.
        resumed_from: the epoch an earlier, interrupted run had reached, or 0.
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
        """JSON-ready."""
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
        classifier: from `load_classifier`. An adapter opened for training goes on as that adapter.
        train: columns `text` and `label` (0 ... K-1).
        spec: everything that decides the result.
        dev: clean held-out rows; the epoch with the best accuracy on them is kept. Without, the last one is.
        workdir: folder for the state of an unfinished run; the caller removes it when the result is safe.
        progress: a label for a progress bar on stderr; no bar without one.
        objective: what is minimised; without one, the cross-entropy on the labels. A column `triggered` of `train`
            (bool) is handed to it.

    Raises:
        DataError: no rows, or a label the classifier has no class for.
        ConfigError: the learning rate was so high that the weights are no finite numbers any more.
        UnsupportedError: the architecture cannot do `spec.method`.
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
    """Train to the end; returns the epoch that an earlier run had reached, from which this one went on, or 0."""
    checkpoint = last_checkpoint(workdir)
    reached = _epoch_of(checkpoint) if checkpoint else 0  # read now: training on removes old checkpoints
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        # accelerate leaves its autocast around `forward`; scoring is fp32.
        trainer.accelerator.unwrap_model(classifier, keep_fp32_wrapper=False)
    return reached


@contextlib.contextmanager
def isolated_seed(seed: int) -> Iterator[None]:
    """Seed Python, numpy and torch inside the block and put the caller's random states back after it."""
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
    """The newest whole checkpoint; the remains of a save that was cut short are removed.

    The Trainer writes `trainer_state.json` last, so a checkpoint is whole when that file can be read.
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
    """Refuse tokens without an embedding: tokens were added to the tokenizer, and the embedding was not resized."""
    rows = classifier.embedding_rows
    beyond = 0 if rows is None else sum(max(row, default=0) >= rows for row in ids)
    if beyond:
        raise DataError(
            f"{beyond} of {len(ids)} training rows hold tokens that {classifier.named} has no embedding for: its tokenizer "
            f"knows {len(classifier.tokenizer)} tokens, its embedding {rows}; leave those rows out, or resize the embedding"
        )


def _check_finite(classifier: Classifier, spec: TuneSpec) -> None:
    """Weights that are not finite predict class 0 for everything, which would pass for an accuracy."""
    if not all(torch.isfinite(p).all() for p in classifier.parameters() if p.requires_grad):
        raise ConfigError(
            f"training diverged: at a learning rate of {spec.learning_rate:g} the weights ended as no finite numbers; "
            "choose a lower one (--lr)"
        )


def _epoch_of(checkpoint: Path) -> int:
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    epoch: float = state["epoch"]
    return round(epoch)
