"""Frozen base models in 4 bits (Dettmers et al. 2023, QLoRA), so that 7B weights fit one GPU beside what is trained on them.

A folder says itself that it is to be opened so (`bits` in its `poisonsieve.json`): whoever tunes from it, guards it or
scores with it sees the same rounded weights.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
from typing import TYPE_CHECKING, Any

from poisonsieve.errors import CheckpointError, UnsupportedError

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

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
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    return {"quantization_config": config, "device_map": {"": device}}


def compute_plainly(network: Any) -> None:
    """On a processor, keep bitsandbytes from repacking weights for bf16 kernels at the first forward pass.

    The repacking rounds once more, and stays when training goes on: a guard that has just been fitted would score otherwise
    than the same guard opened from its folder.
    """
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def merged(classifier: Classifier, allow_pickle: bool = False) -> Classifier:
    """What a LoRA adapter on a base in 4 bits has learned, added to the base's own weights: a whole model again.

    The weights are on the processor, in the precision of the base's files. Saved, they are opened in 4 bits again, which
    rounds base and adapter together: logits are near those of `classifier`, not equal to them.

    Args:
        classifier: with a LoRA adapter; from a whole folder that is still there.
        allow_pickle: the folder holds pickled weights, which were scanned.

    Raises:
        UnsupportedError: the adapter is none that can be added to weights.
        CheckpointError: the base cannot be opened again, or has changed.
    """
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    from poisonsieve.models.whole import load_whole

    if not classifier.is_peft or not hasattr(classifier.network, "merge_and_unload"):
        raise UnsupportedError("only a LoRA adapter can be merged into its base")
    if classifier.base_folder is None:
        raise CheckpointError("the base was not read from a folder, so nothing can be merged into it")
    whole = load_whole(
        classifier.base_folder, classifier.label_names, "any", 0, allow_pickle, opened={"dtype": "auto"}
    )
    if whole.base_digest != classifier.base_digest:
        raise CheckpointError(f"{classifier.base_folder} holds other weights than when the adapter was trained on it")
    adapter = get_peft_model_state_dict(classifier.network)
    network = get_peft_model(whole.network, classifier.network.active_peft_config)
    set_peft_model_state_dict(network, {name: value.cpu() for name, value in adapter.items()})
    whole.network = network.merge_and_unload()
    whole.untrained = []
    whole.take_tokenizer(classifier.tokenizer)
    whole.source, whole.origins = classifier.source, list(classifier.origins)
    whole.wanted_max_length = classifier.wanted_max_length
    whole.bits = classifier.bits
    return whole.eval()
