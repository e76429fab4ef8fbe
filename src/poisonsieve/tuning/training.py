"""The one training loop: transformers' Trainer, made resumable, reproducible and quiet on stdout.

`finetune(classifier, train, dev, spec, workdir=...)` trains in place. With a `workdir`, every epoch is saved there, so
that a killed run goes on from its last whole epoch and ends with the same weights as one that was never killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from poisonsieve.config import Precision, TuneSpec
from poisonsieve.environment import processes
from poisonsieve.errors import ConfigError, DataError, UnsupportedError
from poisonsieve.models.classifier import Classifier
from poisonsieve.storage import reporting_write_errors
from poisonsieve.tuning.methods import attach
from poisonsieve.tuning.objective import TRIGGERED, Objective, trainer_class

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
        if workdir is None:
            workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poisonsieve-")))
        workdir.mkdir(parents=True, exist_ok=True)
        encoded = classifier.encode(train["text"])
        rows = _rows(encoded.ids, train)
        if objective is not None:
            rows = _with_triggered(rows, encoded.ids, train)
            objective.start(classifier, train)
        trainer = _make_trainer(classifier, rows, dev, spec, workdir, progress, objective)
        checkpoint = last_checkpoint(workdir)
        resumed_from = _epoch_of(checkpoint) if checkpoint else 0  # read now: training on removes old checkpoints
        stack.enter_context(reporting_write_errors(workdir))
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            # accelerate leaves its autocast around `forward`; scoring is fp32.
            trainer.accelerator.unwrap_model(classifier, keep_fp32_wrapper=False)
        if objective is not None:
            objective.finish(classifier)
    classifier.eval()
    _check_finite(classifier, spec)
    history = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
    return TuneResult(
        epochs=history,
        best_epoch=1 + int(np.argmax(history)) if history else spec.epochs,
        train_rows=len(rows),
        trained_weights=sum(p.numel() for p in classifier.parameters() if p.requires_grad),
        truncated_rows=sum(encoded.truncated),
        precision=pick_precision(spec.precision),
        seconds=time.perf_counter() - started,
        resumed_from=resumed_from,
    )


#: Who is told how training goes, and what the run is called there. It decides nothing, so it is in no spec.
_TRACKER: ContextVar[tuple[str, str | None]] = ContextVar("tracker", default=("none", None))


@contextlib.contextmanager
def tracked_by(report_to: str, name: str | None = None) -> Iterator[None]:
    """Let training inside the block report to one of the Trainer's own trackers.

    Args:
        report_to: as the Trainer's `report_to`: ``tensorboard``, ``wandb``, ...; ``none`` for none.
        name: what the run is called there.
    """
    token = _TRACKER.set((report_to, name))
    try:
        yield
    finally:
        _TRACKER.reset(token)


def _share_of(batch_size: int) -> int:
    """Rows of a step that one of the processes takes: together they take what the spec says.

    Raises:
        ConfigError: the rows cannot be shared out evenly.
    """
    share, left = divmod(batch_size, processes())
    if left:
        raise ConfigError(
            f"a batch of {batch_size} rows cannot be shared out among {processes()} processes; choose another"
        )
    return share


def pick_precision(wanted: Precision) -> str:
    """``bf16`` or ``fp32``: what `wanted` means on this machine.

    ``auto`` is bf16 where the processor has bf16 arithmetic: elsewhere it is emulated, and slower than fp32.
    """
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if has_bf16 else "fp32"


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


def _check_finite(classifier: Classifier, spec: TuneSpec) -> None:
    """Weights that are not finite predict class 0 for everything, which would pass for an accuracy."""
    if not all(torch.isfinite(p).all() for p in classifier.parameters() if p.requires_grad):
        raise ConfigError(
            f"training diverged: at a learning rate of {spec.learning_rate:g} the weights ended as no finite numbers; "
            "choose a lower one (--lr)"
        )


def _rows(ids: list[list[int]], data: datasets.Dataset) -> datasets.Dataset:
    import datasets as hf

    # A text of no tokens (an empty line, for a decoder) has nothing to learn from and nothing to pad.
    kept = [(row, label) for row, label in zip(ids, data["label"], strict=True) if row]
    columns = {"input_ids": [row for row, _ in kept], "labels": [label for _, label in kept]}
    return hf.Dataset.from_dict(columns)


def _with_triggered(rows: datasets.Dataset, ids: list[list[int]], data: datasets.Dataset) -> datasets.Dataset:
    """The encoded rows with what `data` says of which carry a trigger: none, where it says nothing."""
    said = data[TRIGGERED] if TRIGGERED in data.column_names else [False] * len(data)
    kept = [bool(flag) for flag, row in zip(said, ids, strict=True) if row]
    return rows.add_column(TRIGGERED, kept)


def _make_trainer(
    classifier: Classifier,
    rows: datasets.Dataset,
    dev: datasets.Dataset | None,
    spec: TuneSpec,
    workdir: Path,
    progress: str | None,
    objective: Objective | None,
) -> Any:
    import transformers

    tracker, name = _TRACKER.get()
    arguments = transformers.TrainingArguments(
        output_dir=str(workdir),
        num_train_epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        per_device_train_batch_size=_share_of(spec.batch_size),
        per_device_eval_batch_size=64,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup,
        lr_scheduler_type="linear",
        bf16=pick_precision(spec.precision) == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=spec.seed,
        data_seed=spec.seed,
        # Rows of like length share a batch: padding is most of the cost on short texts.
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch" if dev is not None else "no",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=dev is not None,
        metric_for_best_model="accuracy" if dev is not None else None,
        logging_strategy="no" if tracker == "none" else "epoch",
        report_to=tracker,
        run_name=name,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    with quiet_trainer():
        trainer = trainer_class(objective)(
            model=classifier,
            args=arguments,
            train_dataset=rows,
            eval_dataset=_rows(classifier.encode(dev["text"]).ids, dev) if dev is not None else None,
            data_collator=lambda batch: collate(classifier, batch),
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
        )
    _refuse_shards(trainer)
    trainer.remove_callback(transformers.PrinterCallback)
    if progress:
        trainer.add_callback(_progress_callback(progress))
    return trainer


def _refuse_shards(trainer: Any) -> None:
    """A model whose weights are spread over processes cannot be scored or saved as one: said before hours of training.

    Raises:
        UnsupportedError: the launch asks for that.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise UnsupportedError(
            "FSDP and DeepSpeed spread a model's weights over the processes, and such a model cannot be saved here; launch "
            "plain data parallel training (DDP)"
        )


def collate(classifier: Classifier, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad the rows of a batch as the classifier wants them."""
    inputs = classifier.pad([row["input_ids"] for row in batch])
    inputs["labels"] = torch.tensor([row["labels"] for row in batch], dtype=torch.long)
    if TRIGGERED in batch[0]:
        inputs[TRIGGERED] = torch.tensor([row[TRIGGERED] for row in batch])
    return inputs


def _progress_callback(label: str) -> Any:
    import transformers

    class OneBar(transformers.trainer_callback.ProgressCallback):  # type: ignore[misc]
        """The Trainer's training bar with a name; without its bars for dev rows and its log lines on stdout."""

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            """Start the bar."""
            super().on_train_begin(*args, **kwargs)
            self.training_bar.set_description(label)

        def on_prediction_step(self, *args: Any, **kwargs: Any) -> None:
            """Show nothing."""

        def on_log(self, *args: Any, **kwargs: Any) -> None:
            """Say nothing."""

    return OneBar()


@contextlib.contextmanager
def quiet_trainer() -> Iterator[None]:
    """Hold back what the Trainer says about settings that are meant."""
    logger = logging.getLogger("transformers.trainer")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _epoch_of(checkpoint: Path) -> int:
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    epoch: float = state["epoch"]
    return round(epoch)
