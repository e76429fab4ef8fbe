"""Opening models and tokenizers with transformers, with the same rules and errors for every kind of model."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poisonsieve.errors import CheckpointError, PoisonsieveError
from poisonsieve.models.safety import safetensors_files
from poisonsieve.parsing import read_json

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json", "merges.txt")
# PEFT reads an attribute that transformers has renamed, which is nobody's business who opens a guard.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)


@contextlib.contextmanager
def opening(folder: Path, kind: str) -> Iterator[None]:
    """Turn any library error about a bad checkpoint into a one-line `CheckpointError`, and suppress loading reports.

    Args:
        folder: the folder being opened.
        kind: what it is opened as, with an article.

    Raises:
        CheckpointError: the folder cannot be opened.
    """
    import torch

    try:
        with quiet_transformers():
            yield
    except (PoisonsieveError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # libraries raise all kinds of errors on missing, truncated or malformed files
        raise CheckpointError(f"{folder} cannot be opened as {kind}: {first_line(error)}") from error


def how_to_open(folder: Path, allow_pickle: bool) -> dict[str, Any]:
    """Return `from_pretrained` arguments for any model: fp32, safetensors unless pickles are allowed, no remote code."""
    import torch

    return {
        "dtype": torch.float32,
        "use_safetensors": bool(safetensors_files(folder)) or not allow_pickle,
        "output_loading_info": True,
        "trust_remote_code": False,
    }


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a tokenizer was saved in the folder."""
    return any(any(folder.glob(pattern)) for pattern in _VOCABULARIES) or _needs_no_vocabulary(folder)


def _needs_no_vocabulary(folder: Path) -> bool:
    """Tell whether the folder's tokenizer works on bytes or characters and so needs no vocabulary file."""
    import transformers

    path = folder / "tokenizer_config.json"
    name = str(read_json(path).get("tokenizer_class")) if path.is_file() else ""
    kind: Any = getattr(transformers, name, None)
    slow = transformers.PreTrainedTokenizer
    if not isinstance(kind, type) or not issubclass(kind, slow) or kind is slow:
        return False
    return not getattr(kind, "vocab_files_names", {})


def open_tokenizer(folder: Path) -> Any:
    """Open the tokenizer saved in the folder.

    Raises:
        CheckpointError: there is none, or it cannot be opened.
    """
    from transformers import AutoTokenizer

    with opening(folder, "a tokenizer"):
        # Without a vocabulary transformers would return a tokenizer for which every word is unknown.
        if not has_tokenizer(folder):
            raise CheckpointError(f"{folder} brings no tokenizer (no tokenizer.json or vocabulary file)")
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def first_line(error: BaseException) -> str:
    """Return the first informative line of an error's message, in printable characters, or the error's type."""
    lines = [line.strip() for line in _ESCAPES.sub("", str(error)).splitlines() if line.strip()]
    while len(lines) > 1 and lines[0].endswith(":"):  # "Error(s) in loading state_dict for Bert:"
        lines[:2] = [f"{lines[0]} {lines[1]}"]
    shown = "".join(character if character.isprintable() else " " for character in lines[0]) if lines else ""
    return shown[:300] or type(error).__name__


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Suppress transformers' loading reports; whatever matters in them is raised as an error here."""
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
