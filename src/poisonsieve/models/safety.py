"""Checking that a checkpoint folder is safe to open, and computing its identity.

Weights are hostile until proven otherwise. A pickle can run code when loaded, and so can a model that ships its own
Python; safetensors cannot. Only safetensors files are opened by default.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from poisonsieve.errors import CheckpointError, UnsafeWeightsError
from poisonsieve.parsing import read_json
from poisonsieve.storage import sha256_file

MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
# Other files that affect results: configs, and tokenizers in all their formats.
_SETTINGS = frozenset({".json", ".txt", ".model", ".spm", ".codes", ".bpe", ".vocab", ".tiktoken", ".tokenizer"})
_REDIRECTS = ("transformers_weights", "configuration_files")
_ADAPTERS = ("LORA", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
_LARGEST = 4096  # for the rank of an adapter or the tokens of a prompt: far more than anyone trains
METADATA = "poisonsieve.json"  # metadata that poisonsieve adds to checkpoints


def is_adapter(folder: Path) -> bool:
    """Tell whether the folder holds a PEFT adapter rather than a whole model."""
    return (folder / ADAPTER_CONFIG).is_file()


def check_folder(folder: Path, *, allow_pickle: bool = False) -> None:
    """Refuse a folder that is not a checkpoint, or that could run code when opened.

    Args:
        folder: the downloaded or given folder.
        allow_pickle: accept pickled weights (`.bin`) after a scan; they are then loaded with torch's `weights_only`
            reader. This is the only way to open a folder without safetensors files.

    Raises:
        CheckpointError: the folder has no config or no weights.
        UnsafeWeightsError: there are only pickled weights and `allow_pickle` is off; the scan found a dangerous pickle;
            an index names files outside the folder; or the config asks for Python code that comes with the model.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; a checkpoint is a folder with {MODEL_CONFIG} and weights")
    read_json(folder / (ADAPTER_CONFIG if is_adapter(folder) else MODEL_CONFIG))
    for path in sorted(folder.glob("*config.json")):
        _check_config(path)
    if safetensors_files(folder):
        return
    pickles = pickled_files(folder)
    if not pickles:
        raise CheckpointError(
            f"{folder} holds no weights (*.safetensors) by a name that is opened ({_weights_name(folder, '.safetensors')}); "
            "is it the folder to which a model was saved?"
        )
    if not allow_pickle:
        raise UnsafeWeightsError(
            f"{pickles[0]} is a pickle, which can run code when it is loaded; ask for safetensors, or pass "
            "--allow-pickle (allow_pickle=True) to have it scanned and opened with torch's weights_only reader"
        )
    for path in pickles:
        _scan_pickle(path)


def safetensors_files(folder: Path) -> list[Path]:
    """Return the safetensors files, under the only names that libraries open; empty if there are none.

    If a safetensors file had any other name, libraries would read a pickle next to it instead.

    Raises:
        UnsafeWeightsError: the index of a model in several files names something other than safetensors files.
        CheckpointError: a file that the index names is missing.
    """
    return _weight_files(folder, ".safetensors")


def pickled_files(folder: Path) -> list[Path]:
    """Return the pickled files that libraries open if there are no safetensors files; no other file is ever opened.

    Raises:
        UnsafeWeightsError, CheckpointError: see `safetensors_files`.
    """
    return _weight_files(folder, ".bin")


def _weight_files(folder: Path, suffix: str) -> list[Path]:
    whole = folder / _weights_name(folder, suffix)
    if whole.is_file():
        return [whole]
    if is_adapter(folder):  # PEFT does not support sharded adapters: next to an index it would read the pickle
        return []
    index = folder / f"{whole.name}.index.json"
    if not index.is_file():
        return []
    named = read_json(index).get("weight_map")
    shards = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
    for name in shards:
        if not name.endswith(suffix) or Path(name).name != name:
            raise UnsafeWeightsError(f"{index} names {name}, which is not a {suffix} file of this folder")
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}, which {index.name} names")
    return [folder / name for name in shards]


def _weights_name(folder: Path, suffix: str) -> str:
    if is_adapter(folder):
        return f"adapter_model{suffix}"
    return "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"


def identity_digest(folders: list[Path]) -> str:
    """Return the hex sha256 over all that determines a checkpoint's results: weights, configs and tokenizer."""
    total = hashlib.sha256()
    for folder in folders:
        total.update(f"{weights_digest(folder)}\n".encode())
        for path in sorted(path for path in folder.iterdir() if path.suffix in _SETTINGS and path.name != "run.json"):
            total.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return total.hexdigest()


def weights_digest(folder: Path) -> str:
    """Return the hex sha256 over names and contents of the weight files, which identifies a base model."""
    total = hashlib.sha256()
    for path in safetensors_files(folder) or pickled_files(folder):
        total.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return total.hexdigest()


def _check_config(path: Path) -> None:
    """Refuse settings that bring code, or that open files other than those that were checked."""
    config = read_json(path)
    if config.get("auto_map"):
        raise UnsafeWeightsError(
            f"{path} asks to run Python code that ships with the model (auto_map); poisonsieve never does"
        )
    for key in _REDIRECTS:
        if config.get(key):
            raise UnsafeWeightsError(f"{path} sets {key}, which opens files other than those that were checked")
    for key in ("attn_implementation", "_attn_implementation"):
        if "/" in str(config.get(key) or ""):
            raise UnsafeWeightsError(
                f"{path} sets {key} to a kernel from the hub, which is code; poisonsieve never runs it"
            )
    if path.name == ADAPTER_CONFIG:
        _check_adapter_config(path, config)


def _check_adapter_config(path: Path, config: dict[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind not in _ADAPTERS:
        raise CheckpointError(f"{path}: adapters of type {kind} are not supported; supported: {', '.join(_ADAPTERS)}")
    _check_size(path, config, "r" if kind == "LORA" else "num_virtual_tokens")
    mapping = config.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    if mapping and not str(library).startswith(
        "transformers.models."
    ):  # PEFT's own value for a config without a task
        raise UnsafeWeightsError(f"{path} sets auto_mapping, which imports a module of its choice")
    if config.get("alora_invocation_tokens"):
        raise CheckpointError(
            f"{path} sets alora_invocation_tokens: such an adapter acts only after those tokens, and is not supported"
        )
    if config.get("tokenizer_name_or_path") or config.get("prompt_tuning_init") not in (None, "RANDOM"):
        raise UnsafeWeightsError(
            f"{path} initializes its prompt with another tokenizer, which would be loaded from a place of its choice; set "
            'prompt_tuning_init to "RANDOM" and tokenizer_name_or_path to null: the trained prompt is in the weights'
        )


def _check_size(path: Path, config: dict[str, Any], key: str) -> None:
    """Refuse an invalid size before memory is allocated for it."""
    size = config.get(key, 1)
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _LARGEST:
        raise CheckpointError(f"{path}: {key} is {str(size)[:20]}, not a number from 1 to {_LARGEST}")


def _scan_pickle(path: Path) -> None:
    from picklescan.scanner import SafetyLevel, scan_file_path

    result = scan_file_path(str(path))
    if result.scan_err:
        raise UnsafeWeightsError(f"{path} could not be scanned as a pickle, so it is not opened")
    dangerous = [found for found in result.globals if found.safety != SafetyLevel.Innocuous]
    if result.infected_files or dangerous:
        named = ", ".join(f"{found.module}.{found.name}" for found in dangerous[:3]) or "a dangerous call"
        raise UnsafeWeightsError(f"{path} calls {named} when it is loaded; it is not opened")
