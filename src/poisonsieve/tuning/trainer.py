"""transformers' Trainer as configured here: batches of similar length, no output on stdout."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from poisonsieve.config import Precision, TuneSpec
from poisonsieve.environment import device_type, processes
from poisonsieve.errors import ConfigError, UnsupportedError
from poisonsieve.models.classifier import Classifier
from poisonsieve.progress import progress_bar, tell
from poisonsieve.texts import TRIGGERED
from poisonsieve.tuning.objective import Objective, trainer_class

if TYPE_CHECKING:
    import datasets

#: The tracker that training reports to, and the name of the run. It does not affect results, so it is in no spec.
_TRACKER: ContextVar[tuple[str, str | None]] = ContextVar("tracker", default=("none", None))


def require_tracker(report_to: str) -> None:
    """Refuse one of the Trainer's own trackers that is not installed.

    Raises:
        ConfigError: says which are.
    """
    from transformers.integrations import get_available_reporting_integrations

    available = sorted(get_available_reporting_integrations())
    if report_to not in available:
        raise ConfigError(
            f"report_to: {report_to} is not installed; installed are: {', '.join(['none', *available])}"
        )


@contextlib.contextmanager
def tracked_by(report_to: str, name: str | None = None) -> Iterator[None]:
    """Let training inside the block report to one of the Trainer's own trackers.

    Args:
        report_to: the Trainer's `report_to`: ``tensorboard``, ``wandb``, ...; ``none`` for none.
        name: name of the run in the tracker.
    """
    token = _TRACKER.set((report_to, name))
    try:
        yield
    finally:
        _TRACKER.reset(token)


def share_of(batch_size: int) -> int:
    """Return each process's share of the rows of a step, so that together they process the batch size in the spec.

    Raises:
        ConfigError: the rows cannot be divided evenly.
    """
    share, left = divmod(batch_size, processes())
    if left:
        raise ConfigError(
            f"a batch of {batch_size} rows cannot be divided evenly among {processes()} processes; choose another size"
        )
    return share


def pick_precision(wanted: Precision) -> str:
    """Return ``bf16`` or ``fp32``, resolving ``auto`` for this machine.

    ``auto`` means bf16 on hardware with bf16 arithmetic that torch uses (``ATEN_CPU_CAPABILITY=avx2`` keeps it from that);
    elsewhere bf16 is emulated and slower than fp32.
    """
    if wanted != "auto":
        return wanted
    if device_type() == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if has_bf16 and torch.backends.cpu.get_cpu_capability().startswith("AVX512") else "fp32"


def encoded_rows(ids: list[list[int]], data: datasets.Dataset, *, with_triggered: bool = False) -> datasets.Dataset:
    """Return `input_ids` and `labels` of the rows with tokens, and optionally `triggered` (False if `data` lacks it)."""
    import datasets as hf

    columns: dict[str, list[Any]] = {"input_ids": ids, "labels": data["label"]}
    if with_triggered:
        flags = data[TRIGGERED] if TRIGGERED in data.column_names else [False] * len(data)
        columns[TRIGGERED] = [bool(flag) for flag in flags]
    # A text without tokens (an empty line, for a decoder) has nothing to learn from and nothing to pad.
    kept = [bool(row) for row in ids]
    return hf.Dataset.from_dict({name: list(compress(column, kept)) for name, column in columns.items()})


def make_trainer(
    classifier: Classifier,
    rows: datasets.Dataset,
    dev: datasets.Dataset | None,
    spec: TuneSpec,
    workdir: Path,
    progress: str | None,
    objective: Objective | None,
) -> Any:
    """Make the Trainer for one run of `finetune`.

    Args:
        classifier: the classifier, with its tuning attached.
        rows: encoded training rows.
        dev: rows whose accuracy selects the epoch, or None.
        spec: training settings.
        workdir: folder for a checkpoint per epoch.
        progress: a label for a progress bar on stderr; no bar without one.
        objective: see `finetune`.

    Raises:
        ConfigError: the batch cannot be divided evenly among the processes.
        UnsupportedError: the launch asks for sharded weights.
    """
    import transformers

    with quiet_trainer():
        trainer = trainer_class(objective)(
            model=classifier,
            args=_arguments(spec, workdir, judged=dev is not None),
            train_dataset=rows,
            eval_dataset=encoded_rows(classifier.encode(dev["text"]).ids, dev) if dev is not None else None,
            data_collator=lambda batch: collate(classifier, batch),
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
        )
    refuse_shards(trainer)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(_progress_callback(progress))
    return trainer


def _arguments(spec: TuneSpec, workdir: Path, *, judged: bool) -> Any:
    """Return the Trainer's settings; `judged` means that dev rows select the epoch."""
    import transformers

    tracker, name = _TRACKER.get()
    return transformers.TrainingArguments(
        output_dir=str(workdir),
        num_train_epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        per_device_train_batch_size=share_of(spec.batch_size),
        per_device_eval_batch_size=64,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup,
        lr_scheduler_type="linear",
        bf16=pick_precision(spec.precision) == "bf16",
        use_cpu=device_type() == "cpu",
        seed=spec.seed,
        data_seed=spec.seed,
        # Rows of similar length share a batch, since padding is most of the cost on short texts.
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch" if judged else "no",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=judged,
        metric_for_best_model="accuracy" if judged else None,
        logging_strategy="no" if tracker == "none" else "epoch",
        report_to=tracker,
        run_name=name,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device_type() == "cuda",
    )


def refuse_shards(trainer: Any) -> None:
    """Refuse, before any training, to shard weights over processes: such a model cannot be scored or saved as one.

    Raises:
        UnsupportedError: the launch asks for FSDP or DeepSpeed.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise UnsupportedError(
            "FSDP and DeepSpeed shard a model's weights over the processes, and such a model cannot be saved here; launch "
            "plain data parallel training (DDP)"
        )


def collate(classifier: Classifier, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad the rows of a batch for the classifier."""
    inputs = classifier.pad([row["input_ids"] for row in batch])
    inputs["labels"] = torch.tensor([row["labels"] for row in batch], dtype=torch.long)
    if TRIGGERED in batch[0]:
        inputs[TRIGGERED] = torch.tensor([row[TRIGGERED] for row in batch])
    return inputs


def _progress_callback(label: str | None) -> Any:
    import transformers

    class OneBar(transformers.TrainerCallback):  # type: ignore[misc]
        """A labelled progress bar over the training steps, on the first process only; the Trainer's has no label."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Start the bar."""
            self.bar = progress_bar(label if state.is_world_process_zero else None, "step", total=state.max_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Advance the bar, for a resumed run at once to its first step."""
            self.bar.update(state.global_step - self.bar.n)
            tell(args.train_batch_size * args.gradient_accumulation_steps)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Close the bar."""
            self.bar.close()

    return OneBar()


@contextlib.contextmanager
def quiet_trainer() -> Iterator[None]:
    """Suppress the Trainer's warnings about intended settings."""
    logger = logging.getLogger("transformers.trainer")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
