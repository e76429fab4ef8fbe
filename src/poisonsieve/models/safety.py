"""Is this checkpoint folder safe to open, and is it the one that is meant?

Weights are hostile until proven otherwise. A pickle can run code when it is loaded, and so can a model that
ships its own Python; safetensors cannot. Only safetensors is opened by default.
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
# What else decides a result: configs, and tokenizers in all their forms.
_SETTINGS = frozenset({".json", ".txt", ".model", ".spm", ".codes", ".bpe", ".vocab", ".tiktoken", ".tokenizer"})
_REDIRECTS = ("transformers_weights", "configuration_files")
_ADAPTERS = ("LORA", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
_LARGEST = 4096  # rank of an adapter, or tokens of a prompt: far more than anyone trains
METADATA = "poisonsieve.json"  # what poisonsieve adds to a checkpoint it writes


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a PEFT adapter rather than a whole model."""
    return (folder / ADAPTER_CONFIG).is_file()


def check_folder(folder: Path, *, allow_pickle: bool = False) -> None:
    """Refuse a folder that is no checkpoint, or one that could run code when opened.

    Args:
        folder: what was downloaded or given.
        allow_pickle: accept `.bin` and other pickled weights after a scan; they are then loaded with torch's
            `weights_only` reader. Without safetensors beside them this is the only way to open such a folder.

    Raises:
        CheckpointError: no config or no weights in the folder.
        UnsafeWeightsError: only pickled weights and `allow_pickle` is off; the scan found a dangerous pickle; an index
            names files outside the folder; or the config asks for Python code that comes with the model.
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
            "is it the folder a model was saved to?"
        )
    if not allow_pickle:
        raise UnsafeWeightsError(
            f"{pickles[0]} is a pickle, which can run code when it is loaded; ask for safetensors, or pass "
            "--allow-pickle (allow_pickle=True) to have it scanned and opened with torch's weights_only reader"
        )
    for path in pickles:
        _scan_pickle(path)


def safetensors_files(folder: Path) -> list[Path]:
    """The safetensors files that libraries open, by the only names they open them under; empty if there are none.

    Beside a safetensors file of any other name they would read a pickle.

    Raises:
        UnsafeWeightsError: the index of a model in several files names something else than safetensors.
        CheckpointError: a file that the index names is missing.
    """
    return _weight_files(folder, ".safetensors")


def pickled_files(folder: Path) -> list[Path]:
    """The pickled files that libraries open where there are no safetensors; what else lies there is never opened.

    Raises:
        UnsafeWeightsError, CheckpointError: see `safetensors_files`.
    """
    return _weight_files(folder, ".bin")


def _weight_files(folder: Path, suffix: str) -> list[Path]:
    whole = folder / _weights_name(folder, suffix)
    if whole.is_file():
        return [whole]
    if is_adapter(folder):  # PEFT knows no adapter in several files: beside an index it reads the pickle
        return []
    index = folder / f"{whole.name}.index.json"
    if not index.is_file():
        return []
    named = read_json(index).get("weight_map")
    shards = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
    for name in shards:
        if not name.endswith(suffix) or Path(name).name != name:
            raise UnsafeWeightsError(f"{index} names {name}, which is no {suffix} file of this folder")
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}, which {index.name} names")
    return [folder / name for name in shards]


def _weights_name(folder: Path, suffix: str) -> str:
    if is_adapter(folder):
        return f"adapter_model{suffix}"
    return "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"


def identity_digest(folders: list[Path]) -> str:
    """Hex sha256 over all that decides what a checkpoint computes: weights, configs and tokenizer of its folders."""
    total = hashlib.sha256()
    for folder in folders:
        total.update(f"{weights_digest(folder)}\n".encode())
        for path in sorted(path for path in folder.iterdir() if path.suffix in _SETTINGS and path.name != "run.json"):
            total.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return total.hexdigest()


def weights_digest(folder: Path) -> str:
    """Hex sha256 over the names and contents of the weight files that are opened: the identity of a base model."""
    total = hashlib.sha256()
    for path in safetensors_files(folder) or pickled_files(folder):
        total.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return total.hexdigest()


def _check_config(path: Path) -> None:
    """Refuse settings by which a checkpoint brings code, or has other files opened than those that were checked."""
    config = read_json(path)
    if config.get("auto_map"):
        raise UnsafeWeightsError(
            f"{path} asks to run Python code that ships with the model (auto_map); poisonsieve never does"
        )
    for key in _REDIRECTS:
        if config.get(key):
            raise UnsafeWeightsError(f"{path} sets {key}, which has other files opened than those that were checked")
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
    if mapping and not str(library).startswith("transformers.models."):  # PEFT notes that of a config without a task
        raise UnsafeWeightsError(f"{path} sets auto_mapping, which imports a module of its choice")
    if config.get("alora_invocation_tokens"):
        raise CheckpointError(
            f"{path} sets alora_invocation_tokens: such an adapter works behind those tokens alone, and is not supported"
        )
    if config.get("tokenizer_name_or_path") or config.get("prompt_tuning_init") not in (None, "RANDOM"):
        raise UnsafeWeightsError(
            f"{path} has a prompt made from text by another tokenizer, which would be loaded from where it says; set "
            'prompt_tuning_init to "RANDOM" and tokenizer_name_or_path to null: the trained prompt is in the weights'
        )


def _check_size(path: Path, config: dict[str, Any], key: str) -> None:
    """Refuse a size that is none, before memory is asked for by it."""
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
