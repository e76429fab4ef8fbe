"""Full tuning, LoRA, prompt tuning, P-tuning v1 and P-tuning v2, each put on a classifier in place.

A tuning is a function from (network, spec, modules to train beside it) to the network that is then trained. The
classification head is trained with every one of them (paper, Section 5.1), and so is whatever else the checkpoint
did not hold, such as a pooler: a random layer left frozen would be random again after loading.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from poisonsieve import registry
from poisonsieve.config import TuneSpec
from poisonsieve.errors import UnsupportedError
from poisonsieve.models.classifier import Classifier

Attach = Callable[[Any, TuneSpec, list[str]], Any]


def attach(classifier: Classifier, spec: TuneSpec) -> None:
    """Make `classifier` trainable by `spec.method`. A classifier that already is an adapter goes on with its own.

    Raises:
        UnsupportedError: this architecture cannot do that tuning; the message names those it can.
        ConfigError: no such tuning.
    """
    if classifier.is_peft:
        _continue_adapter(classifier, spec)
        return
    if classifier.bits is not None and spec.method == "full":
        raise UnsupportedError(
            f"{classifier.source} is frozen in {classifier.bits} bits, which full tuning cannot train; choose lora, "
            "prompt_tuning, p_tuning_v1 or p_tuning_v2"
        )
    method: Attach = registry.get("tuning", spec.method)
    try:
        _attach(classifier, method, spec)
    except torch.OutOfMemoryError:
        raise
    except (ValueError, TypeError, AttributeError, RuntimeError, KeyError, IndexError) as error:
        able = ", ".join(name for name in supported_tunings(classifier) if name != spec.method)
        kind = classifier.base.config.model_type
        raise UnsupportedError(f"a {kind} model cannot do {spec.method}; it can do: {able}") from error


def supported_tunings(classifier: Classifier) -> list[str]:
    """Names of the tunings that this untuned classifier's architecture can do, found by trying each on a copy."""
    able = []
    for name in registry.names("tuning"):
        trial = copy.deepcopy(classifier)
        try:
            _attach(trial, registry.get("tuning", name), TuneSpec(method=name, epochs=1, learning_rate=1e-3))
        except Exception:  # noqa: S112 - any failure means the same here: it cannot
            continue
        able.append(name)
    return able


def method_of(classifier: Classifier) -> str:
    """The tuning a classifier carries: its adapter's, or ``full``."""
    if not classifier.is_peft:
        return "full"
    kinds = {
        "LORA": "lora",
        "PROMPT_TUNING": "prompt_tuning",
        "P_TUNING": "p_tuning_v1",
        "PREFIX_TUNING": "p_tuning_v2",
    }
    kind = str(classifier.network.active_peft_config.peft_type.value)
    if kind not in kinds:
        raise UnsupportedError(f"an adapter of type {kind} cannot be tuned further; supported: {', '.join(kinds)}")
    return kinds[kind]


def _continue_adapter(classifier: Classifier, spec: TuneSpec) -> None:
    own = method_of(classifier)
    if spec.method != own:
        raise UnsupportedError(f"{classifier.source} is a {own} adapter and goes on as that; ask for --method {own}")


def _attach(classifier: Classifier, method: Attach, spec: TuneSpec) -> None:
    """Put the method on, and prove with one forward pass that the architecture can run it."""
    plain = classifier.network
    classifier.network = method(plain, spec, _modules_to_train(classifier))
    try:
        ids = classifier.encode(["a short text"]).ids
        classifier.to(classifier.device)  # what the method added starts on the processor
        classifier(**classifier.inputs(ids))
    except Exception:
        classifier.network = plain
        raise


def _modules_to_train(classifier: Classifier) -> list[str]:
    """Last names of the modules whose weights the checkpoint did not hold, beside the head itself."""
    modules = {name.split(".")[-3] for name in classifier.untrained if ".pooler." in name}
    return sorted(modules)


@registry.register("tuning", "full")
def full(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """All weights are trained."""
    del spec, extra
    network.requires_grad_(True)
    return network


@registry.register("tuning", "lora")
def lora(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """LoRA (Hu et al. 2021) on the projections PEFT names for the architecture, else on all linear layers."""
    from peft import LoraConfig, get_peft_model
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    config = LoraConfig(
        task_type="SEQ_CLS",
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=None if network.config.model_type in KNOWN else "all-linear",
        modules_to_save=extra or None,
    )
    return get_peft_model(network, config)


@registry.register("tuning", "prompt_tuning")
def prompt_tuning(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """Free virtual tokens before the text (Lester et al. 2021)."""
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(
        task_type="SEQ_CLS", num_virtual_tokens=spec.virtual_tokens, modules_to_save=extra or None
    )
    return get_peft_model(network, config)


@registry.register("tuning", "p_tuning_v1")
def p_tuning_v1(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """Virtual tokens made by a small encoder (Liu et al. 2021b); the paper's default for PSIM."""
    from peft import PromptEncoderConfig, get_peft_model

    config = PromptEncoderConfig(
        task_type="SEQ_CLS",
        num_virtual_tokens=spec.virtual_tokens,
        encoder_hidden_size=spec.encoder_hidden,
        modules_to_save=extra or None,
    )
    return get_peft_model(network, config)


@registry.register("tuning", "p_tuning_v2")
def p_tuning_v2(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """Trained keys and values before every layer (Liu et al. 2021a): PEFT's prefix tuning."""
    from peft import PrefixTuningConfig, get_peft_model

    config = PrefixTuningConfig(
        task_type="SEQ_CLS", num_virtual_tokens=spec.virtual_tokens, modules_to_save=extra or None
    )
    return get_peft_model(network, config)
