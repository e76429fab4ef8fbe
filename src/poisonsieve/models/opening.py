"""Opening what a folder holds with transformers: by the same rules for every kind of model, and with one kind of error."""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poisonsieve.errors import CheckpointError
from poisonsieve.models.safety import safetensors_files

_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json", "merges.txt")


@contextlib.contextmanager
def opening(folder: Path, kind: str) -> Iterator[None]:
    """Whatever a library says of a bad checkpoint becomes one line; its loading reports are held back.

    Args:
        folder: what is opened.
        kind: what it is opened as, with its article.

    Raises:
        CheckpointError: it cannot be opened so.
    """
    from safetensors import SafetensorError

    # What transformers, torch and the formats below them raise on files that are missing, cut short or of another kind.
    expected = (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, EOFError, pickle.UnpicklingError)
    try:
        with quiet_transformers():
            yield
    except (*expected, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be opened as {kind}: {first_line(error)}") from error


def how_to_open(folder: Path, allow_pickle: bool) -> dict[str, Any]:
    """Arguments of `from_pretrained` for every model: fp32, safetensors unless pickles are allowed, no code of its own."""
    import torch

    return {
        "dtype": torch.float32,
        "use_safetensors": bool(safetensors_files(folder)) or not allow_pickle,
        "output_loading_info": True,
        "trust_remote_code": False,
    }


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
