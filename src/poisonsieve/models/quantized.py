"""Frozen base models in 4 bits (Dettmers et al. 2023, QLoRA), so that 7B weights fit one GPU beside what is trained on them.

A folder says itself that it is to be opened so (`bits` in its `poisonsieve.json`): whoever tunes from it, guards it or
scores with it sees the same rounded weights.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
from typing import Any

from poisonsieve.environment import device_type
from poisonsieve.errors import CheckpointError, UnsupportedError

BITS = 4
# PEFT imports bitsandbytes wherever it is installed, and on a processor that warns each time that a package is missing with
# which it would fetch compiled kernels from the hub: code, which is never wanted here.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def check_bits(bits: object) -> int | None:
    """Bits as a folder or a user gives them; None for weights as they are.

    Raises:
        CheckpointError: another number.
        UnsupportedError: what opens such models is not installed.
    """
    if bits is None:
        return None
    if bits != BITS:
        raise CheckpointError(f"a base can be opened in {BITS} bits or as it is, not in {bits!r}")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UnsupportedError("models in 4 bits need bitsandbytes; install poisonsieve[quantize]")
    return BITS


def opened_in_bits(bits: int | None) -> dict[str, Any]:
    """Arguments of `from_pretrained`: NF4 with doubly quantized constants; embeddings, norms and head stay as they are.

    Without bits there are none.

    Products are in fp32, as all scoring is; under autocast, in training, they are in bf16.
    """
    if bits is None:
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    gc.collect()  # a module in 4 bits is part of a cycle, so one that was let go may still be there
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        # The head and a pooler are trained, and may be new. Names count from their beginning.
        llm_int8_skip_modules=["score", "classifier", ".*pooler"],
    )
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device_type() == "cuda" else "cpu"
    return {"quantization_config": config, "device_map": {"": device}}


def compute_plainly(network: Any) -> None:
    """On a processor, keep bitsandbytes from repacking weights for bf16 kernels at the first forward pass.

    The repacking rounds once more, and stays when training goes on: a guard that has just been fitted would score otherwise
    than the same guard opened from its folder.
    """
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
