"""Pretrained models from the package index, so that everything runs without a model hub.

`minilm` is all-MiniLM-L6-v2 (22.7M parameters, BERT class). `mpnet` is all-mpnet-base-v2 (109M, MPNet class), split over
five packages. `smollm2` is SmolLM2-135M-Instruct (135M, LLaMA class), published as a 4-bit GGUF file, which is converted
once to fp32 safetensors (540 MB in the cache).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from poisonsieve.assets import build_once, cache_dir, fetch
from poisonsieve.errors import UnsupportedError
from poisonsieve.pinned import MINILM, MPNET, SMOLLM2
from poisonsieve.storage import reporting_write_errors

# The files that a converted folder needs. They have no pinned hash, since their bytes depend on the versions of
# transformers and safetensors; their source is verified.
_CONVERTED = {"config.json": "", "model.safetensors": "", "tokenizer.json": "", "tokenizer_config.json": ""}


def packaged_names() -> list[str]:
    """Return the names of the packaged models."""
    return sorted(_FOLDERS)


def packaged_folder(name: str) -> Path:
    """Return a local folder with safetensors weights and a tokenizer, for ``from_pretrained``.

    Raises:
        UnsupportedError: there is no such model, or `gguf` is missing, which `smollm2` needs on first use.
        AssetError: the model cannot be fetched or fails verification.
    """
    if name not in _FOLDERS:
        raise UnsupportedError(f"no packaged model is called {name!r}; choose from {', '.join(packaged_names())}")
    return _FOLDERS[name]()


def _smollm2() -> Path:
    def convert(target: Path) -> None:
        if importlib.util.find_spec("gguf") is None:
            raise UnsupportedError('smollm2 is a GGUF file: to read it, pip install "poisonsieve[smollm2]"')
        (name,) = SMOLLM2.targets
        source = fetch(SMOLLM2)
        sys.stderr.write("poisonsieve: converting smollm2 to safetensors, once (about half a minute)\n")
        with reporting_write_errors(target):
            _convert_gguf(source, name, target)

    return build_once(cache_dir() / "models" / f"smollm2-{SMOLLM2.sha256[:12]}", _CONVERTED, convert)


def _convert_gguf(source: Path, name: str, target: Path) -> None:
    """Write the model and tokenizer of a GGUF file as a plain `transformers` folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.float32)
    # transformers refuses to save a model marked as quantized, so its weights are copied to a plain twin.
    del read.config.quantization_config
    with torch.random.fork_rng(devices=[]):  # the twin's random weights must not advance the caller's generator
        plain = AutoModelForCausalLM.from_config(read.config)
    plain.load_state_dict(read.state_dict())
    # The file states neither a length limit nor, always, a pad token.
    tokenizer.model_max_length = plain.config.max_position_embeddings
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    plain.config.pad_token_id = tokenizer.pad_token_id
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)


_FOLDERS: dict[str, Callable[[], Path]] = {
    "minilm": lambda: fetch(MINILM),
    "mpnet": lambda: fetch(MPNET),
    "smollm2": _smollm2,
}
