"""Pretrained models that come through the package index, so that everything runs without a model hub.

`minilm` is all-MiniLM-L6-v2 (22.7M parameters, BERT class), `mpnet` all-mpnet-base-v2 (109M, MPNet class), which five
packages hold a part of each. `smollm2` is SmolLM2-135M-Instruct (135M, LLaMA class); it is published as a 4-bit GGUF file,
which is written out once as fp32 safetensors (540 MB in the cache).
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

# Files without which a converted folder is not usable. They have no pinned hash: their bytes depend on the versions
# of transformers and safetensors. What they are made from is verified.
_CONVERTED = {"config.json": "", "model.safetensors": "", "tokenizer.json": "", "tokenizer_config.json": ""}


def packaged_names() -> list[str]:
    """Names of the packaged models."""
    return sorted(_FOLDERS)


def packaged_folder(name: str) -> Path:
    """A local folder with safetensors weights and a tokenizer, for ``from_pretrained``.

    Raises:
        UnsupportedError: there is no such model, or `gguf` is missing, which `smollm2` needs on its first use.
        AssetError: it cannot be fetched, or is not the one that was verified.
    """
    if name not in _FOLDERS:
        raise UnsupportedError(f"no packaged model is called {name!r}; there are: {', '.join(packaged_names())}")
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
    """Write the model and tokenizer in a GGUF file as a plain `transformers` folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.float32)
    # transformers refuses to save a model that it believes to be quantized, so its weights move to a plain twin.
    del read.config.quantization_config
    with torch.random.fork_rng(devices=[]):  # the twin's initial weights must not use up the caller's random numbers
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
