"""Arrays and numbers that detectors keep in the guard folder, validated when they are read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from poisonsieve.errors import CheckpointError


def read_tensors(path: Path, shapes: dict[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
    """Read the tensors of a safetensors file that a detector wrote.

    Args:
        path: the file.
        shapes: names, and the shape each must have; None where any length will do.

    Raises:
        CheckpointError: the file is damaged, or holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, np.ndarray] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; fit the guard again") from None
    wrong = sorted(set(tensors) ^ set(shapes)) or [
        name for name, shape in shapes.items() if not _fits(tensors[name].shape, shape)
    ]
    if wrong:
        raise CheckpointError(f"{path} is damaged: {wrong[0]} is missing or has another shape; fit the guard again")
    return tensors


def read_numbers(folder: Path, state: dict[str, Any], name: str, count: int) -> np.ndarray:
    """Read the list of numbers called `name` in ``guard.json``: float64, shape (count,), NaN for null.

    Raises:
        CheckpointError: it is missing or something else.
    """
    values = state.get(name)
    if not isinstance(values, list) or len(values) != count or not all(_is_number(value) for value in values):
        raise CheckpointError(f"{folder} is damaged: {name} is not a list of {count} numbers; fit the guard again")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write a safetensors file."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _fits(shape: tuple[int, ...], wanted: Collection[int | None]) -> bool:
    return len(shape) == len(wanted) and all(want in (None, have) for have, want in zip(shape, wanted, strict=True))
