"""Resolving an alias (`minilm`), a folder or a hub id to a local folder that is safe to open."""

from __future__ import annotations

from pathlib import Path

from poisonsieve.errors import CheckpointError, ConfigError, HubError
from poisonsieve.models import packaged
from poisonsieve.models.safety import check_folder

_HUB_FILES = [
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    "*.spm",
    "*.codes",
    "*.bpe",
    "*.vocab",
    "*.tiktoken",
    "*.jinja",
]


def resolve(source: str | Path, *, allow_pickle: bool = False) -> Path:
    """Return the local folder of a packaged alias (`minilm`), a folder, or a hub id (`bert-base-uncased`).

    A folder takes precedence over a hub id of the same name, and an alias over both: write `./minilm` for a folder with
    that name. A hub id may also be written as `hub:owner/name`.

    Raises:
        CheckpointError: there is no such folder, or it is not a checkpoint.
        UnsafeWeightsError: see `poisonsieve.models.safety.check_folder`.
        HubError: the hub cannot be reached or has no such id.
    """
    if not isinstance(source, str | Path):
        raise ConfigError(f"name a model by a folder, an alias or a hub id, not by a {type(source).__name__}")
    name = str(source)
    if not name:
        raise CheckpointError(f"the model's name is empty; give a folder, a hub id, or one of {_aliases()}")
    if name in packaged.packaged_names():
        return packaged.packaged_folder(name)
    path = Path(name)
    try:
        there = path.exists()
    except (OSError, ValueError):  # not a path: thousands of letters, or a NUL
        raise CheckpointError(
            f"{name[:60]!r}... is not a path; give a folder, a hub id, or one of {_aliases()}"
        ) from None
    if there:
        check_folder(path, allow_pickle=allow_pickle)
        return path
    looks_local = path.is_absolute() or name.startswith((".", "~")) or name.endswith("/") or name.count("/") > 1
    if looks_local and not name.startswith("hub:"):
        raise CheckpointError(f"{name} does not exist; give a folder, a hub id, or one of {_aliases()}")
    folder = _download(name.removeprefix("hub:"), allow_pickle=allow_pickle)
    check_folder(folder, allow_pickle=allow_pickle)
    return folder


def is_here(source: str) -> bool:
    """Tell whether `source` is available without the hub."""
    return Path(source).is_dir() or source in packaged.packaged_names()


def _download(name: str, *, allow_pickle: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = [*_HUB_FILES, "*.bin"] if allow_pickle else _HUB_FILES
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except HFValidationError:
        raise CheckpointError(f"{name!r} is neither a folder, a hub id, nor one of {_aliases()}") from None
    except Exception as error:  # the hub client raises many unrelated types, which all mean "not available"
        raise HubError(
            f"{name} is not a local folder, and the hub did not provide it: {_why(error)}; check the spelling and the "
            f"network, or use a local folder or a packaged model ({_aliases()})"
        ) from error


def _why(error: Exception) -> str:
    """Return in words why the hub did not provide a model."""
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return "its owner must grant you access; log in with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return "it has no such model, or a private one, for which you log in with `hf auth login`"
    if isinstance(error, LocalEntryNotFoundError):
        return "it cannot be reached (or HF_HUB_OFFLINE is set), and the model is not in the local cache"
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__


def _aliases() -> str:
    return ", ".join(packaged.packaged_names())
