"""Opening a whole checkpoint, with its head accounted for."""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from poisonsieve.errors import CheckpointError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.labels import head_label_names, is_generic, same_classes
from poisonsieve.models.safety import safetensors_files, weights_digest

Head = Literal["trained", "any"]
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json", "merges.txt")


def load_whole(
    folder: Path, label_names: Sequence[str] | None, head: Head, seed: int, allow_pickle: bool
) -> Classifier:
    """Open a whole checkpoint.

    Args:
        folder: a checked folder.
        label_names: the data's class names; None takes the checkpoint's.
        head: ``trained`` insists on a trained head for these classes; ``any`` lets training make one, starting from
            the checkpoint's head where its shape fits and from a random one, drawn from `seed`, where not.
        seed: of a new head.
        allow_pickle: the folder may hold pickled weights, which were scanned.

    Raises:
        CheckpointError: no such head, or weights of the architecture are missing or damaged.
    """
    names, fits = _agree_on_labels(folder, label_names)
    if not fits and head == "trained":
        raise CheckpointError(
            f"the head of {folder} knows the classes {names}, the data has {list(label_names or [])}; "
            "rename the labels, or tune a victim on this data first and start from that"
        )
    wanted = names if fits else list(label_names or [])
    network, missing = _open_network(folder, len(wanted), seed, allow_pickle)
    if missing and head == "trained":
        raise CheckpointError(
            f"{folder} brings no trained classification head (missing: {', '.join(sorted(missing)[:3])}); tune a victim "
            "on clean data first (poisonsieve tune) and start from that: a backdoor would still be in it"
        )
    network.name_or_path = str(folder.absolute())  # what PEFT writes as the adapter's base
    return Classifier(
        network,
        open_tokenizer(folder),
        wanted,
        untrained=sorted(missing),
        base_digest=weights_digest(folder),
        base_folder=folder,
    )


def _agree_on_labels(folder: Path, label_names: Sequence[str] | None) -> tuple[list[str], bool]:
    """The checkpoint's class names, and whether they are the data's, in the data's order."""
    saved = head_label_names(folder) or []
    if label_names is None:
        return saved, True
    data = list(label_names)
    if not same_classes(saved, data):
        return saved, False
    return (data if is_generic(saved) else saved), True


def _open_network(folder: Path, classes: int, seed: int, allow_pickle: bool) -> tuple[Any, set[str]]:
    """The network and the names of those of its weights that the checkpoint did not hold."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(folder, num_labels=classes, trust_remote_code=False)
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            torch.manual_seed(seed)
            network, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=bool(safetensors_files(folder)) or not allow_pickle,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                trust_remote_code=False,
            )
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        TypeError,
        ImportError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise CheckpointError(f"{folder} cannot be opened as a classifier: {first_line(error)}") from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise CheckpointError(f"{folder} holds damaged weights: {first_line(error)}") from error
    mismatched = {entry[0] for entry in info["mismatched_keys"]}
    missing = set(info["missing_keys"]) | mismatched
    lost = sorted(name for name in missing if not _belongs_to_head(name, network.base_model_prefix))
    if lost:
        raise CheckpointError(f"{folder} lacks {len(lost)} weights of its own architecture (first: {lost[0]})")
    return network, missing


def _belongs_to_head(name: str, prefix: str) -> bool:
    return not name.startswith(f"{prefix}.") or ".pooler." in name


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer was saved in the folder."""
    return any(any(folder.glob(pattern)) for pattern in _VOCABULARIES)


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer saved in the folder.

    Raises:
        CheckpointError: there is none, or it cannot be opened.
    """
    from transformers import AutoTokenizer

    # Without a vocabulary transformers hands out an empty one, and every word is unknown.
    if not has_tokenizer(folder):
        raise CheckpointError(f"{folder} brings no tokenizer (no tokenizer.json or vocabulary file)")
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} has no usable tokenizer: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back the loading reports of transformers: what matters in them is raised as an error here."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
