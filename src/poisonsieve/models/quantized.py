"""Base models frozen in 4 bits (Dettmers et al. 2023, QLoRA), so that 7B weights and their adapter fit on one GPU.

The folder itself states that it must be opened in 4 bits (`bits` in its `poisonsieve.json`), so that tuning, guarding
and scoring all use the same rounded weights.
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
# PEFT imports bitsandbytes wherever it is installed. On a CPU that logs a warning each time about a missing package that
# would fetch compiled kernels from the hub, which is code and never wanted here.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def check_bits(bits: object) -> int | None:
    """Check the number of bits given by a folder or user; None means full precision.

    Raises:
        CheckpointError: the number is not 4.
        UnsupportedError: bitsandbytes is not installed.
    """
    if bits is None:
        return None
    if bits != BITS:
        raise CheckpointError(f"a base can be opened in {BITS} bits or as it is, not in {bits!r}")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UnsupportedError("models in 4 bits need bitsandbytes; install poisonsieve[quantize]")
    return BITS


def opened_in_bits(bits: int | None) -> dict[str, Any]:
    """Return `from_pretrained` arguments for NF4 with double quantization; none without bits.

    Embeddings, norms and the head stay in full precision. Matrix products are in fp32, as all scoring is, and under
    autocast, in training, in bf16.
    """
    if bits is None:
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    gc.collect()  # a 4-bit module is part of a reference cycle, so a discarded one may still occupy memory
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        # The head and a pooler are trained and may be new. These names match from the start.
        llm_int8_skip_modules=["score", "classifier", ".*pooler"],
    )
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device_type() == "cuda" else "cpu"
    return {"quantization_config": config, "device_map": {"": device}}


def compute_plainly(network: Any) -> None:
    """On a CPU, keep bitsandbytes from repacking weights for bf16 kernels at the first forward pass.

    Repacking rounds again and persists when training goes on, so a newly fitted guard would score differently from the
    same guard opened from its folder.
    """
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
