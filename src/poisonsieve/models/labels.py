"""The class names of a checkpoint, and whether they are the data's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from poisonsieve.errors import CheckpointError
from poisonsieve.models.safety import METADATA, MODEL_CONFIG, is_adapter, read_json


def head_label_names(folder: Path) -> list[str] | None:
    """Names of the classes a checkpoint's head has, those that libraries fill in too; None for a bare adapter.

    Raises:
        CheckpointError: the checkpoint's files do not say them as they should.
    """
    if is_adapter(folder):
        names = read_json(folder / METADATA).get("label_names") if (folder / METADATA).is_file() else None
        return None if names is None else [str(name) for name in names]
    config = read_json(folder / MODEL_CONFIG)
    try:
        # transformers leaves the names out of the file when they are its own defaults.
        mapping = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(config.get("num_labels", 2))}
        return [str(mapping[key]) for key in sorted(mapping, key=int)]
    except (TypeError, ValueError):
        raise CheckpointError(
            f"{folder / MODEL_CONFIG}: id2label is not a map from class numbers to names; mend it or leave it out"
        ) from None


def is_generic(names: Sequence[str]) -> bool:
    """Whether the names are only numbers, such as libraries fill in."""
    return all(name in (str(index), f"LABEL_{index}") for index, name in enumerate(names))


def same_classes(left: Sequence[str], right: Sequence[str]) -> bool:
    """Whether two lists name the same classes in the same order; names that are only numbers fit any."""
    return len(left) == len(right) and (list(left) == list(right) or is_generic(left) or is_generic(right))
