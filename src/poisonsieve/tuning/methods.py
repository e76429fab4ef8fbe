"""Full tuning, LoRA, prompt tuning, P-tuning v1 and P-tuning v2, each attached to a classifier in place.

A `Tuning` is a function from (network, spec, additional modules to train) to the network that is then trained, with
default hyper-parameters. A model of 22 million weights barely moves at the learning rates that the paper uses for 330
million and more, so the rates depend on the width of the model, and on nothing else: no data are looked at.

Every tuning also trains the classification head (paper, Section 5.1) and any other layer missing from the checkpoint,
such as a pooler: a random layer left frozen would be random again after loading.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from poisonsieve import registry
from poisonsieve.config import TuneSpec
from poisonsieve.errors import UnsupportedError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.layout import sample_rows
from poisonsieve.models.load import check_room
from poisonsieve.models.opening import first_line
from poisonsieve.tuning.record import get_tuning, tuning

_PROMPT: dict[str, Any] = {"rates": (5e-3, 5e-3, 2e-3), "epochs": 5, "paper": (2e-3, 20), "virtual_tokens": True}


def attach(classifier: Classifier, spec: TuneSpec) -> None:
    """Make `classifier` trainable by `spec.method`. A classifier that already is an adapter keeps its own tuning.

    Raises:
        UnsupportedError: the architecture does not support the tuning; the message names those it supports.
        ConfigError: there is no such tuning.
    """
    classifier.compute_with("torch")  # what another backend has compiled would not change
    if classifier.is_peft:
        _continue_adapter(classifier, spec)
        return
    bits = classifier.provenance.bits
    if bits is not None and spec.method == "full":
        raise UnsupportedError(
            f"{classifier.named} is frozen in {bits} bits, which full tuning cannot train; choose lora, "
            "prompt_tuning, p_tuning_v1 or p_tuning_v2"
        )
    get_tuning(spec.method)  # so that an unknown name is not blamed on the architecture
    try:
        _attach(classifier, spec)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # networks fail in many ways with a tuning they do not support
        able = [name for name in supported_tunings(classifier, spec) if name != spec.method]
        kind = classifier.base.config.model_type
        instead = f"it can do: {', '.join(able)}" if able else "nor any other tuning"
        reason = first_line(error.__cause__ or error)
        raise UnsupportedError(f"a {kind} model cannot do {spec.method}; {instead} ({reason})") from error


def first_supported(classifier: Classifier, wanted: Sequence[str]) -> str:
    """Return the first of these tunings that this untuned classifier supports, or the last if it supports none."""
    return next((name for name in wanted if _can(classifier, name, thorough=False)), wanted[-1])


def supported_tunings(classifier: Classifier, spec: TuneSpec | None = None) -> list[str]:
    """Return the tunings that this untuned classifier supports, by trying each, with the sizes in `spec` if given."""
    return [name for name in registry.names("tuning") if _can(classifier, name, spec)]


def _can(classifier: Classifier, name: str, spec: TuneSpec | None = None, *, thorough: bool = True) -> bool:
    sizes = spec or TuneSpec(method=name, epochs=1, learning_rate=1e-3)
    # Virtual tokens are tried on the classifier itself and removed again, which avoids copying a large model.
    trial = classifier if get_tuning(name).virtual_tokens else copy.deepcopy(classifier)
    try:
        take_off = _attach(trial, sizes.model_copy(update={"method": name}), thorough=thorough)
    except Exception:
        return False  # any failure means that the tuning is not supported
    take_off()
    return True


def method_of(classifier: Classifier) -> str:
    """Return a classifier's tuning: that of its adapter, or ``full``."""
    if not classifier.is_peft:
        return "full"
    kinds = {get_tuning(name).peft_type: name for name in registry.names("tuning")}
    kind = str(classifier.network.active_peft_config.peft_type.value)
    if kind not in kinds:
        raise UnsupportedError(
            f"an adapter of type {kind} cannot be tuned further; supported: {', '.join(filter(None, kinds))}"
        )
    return kinds[kind]


def _continue_adapter(classifier: Classifier, spec: TuneSpec) -> None:
    own = method_of(classifier)
    if spec.method != own:
        raise UnsupportedError(f"{classifier.named} is a {own} adapter and stays one; use --method {own}")


def _attach(classifier: Classifier, spec: TuneSpec, *, thorough: bool = True) -> Callable[[], None]:
    """Attach the tuning, and check with some forward passes and a training step that the architecture supports it.

    Args:
        classifier: an untuned classifier, left unchanged if this fails.
        spec: the tuning and its sizes.
        thorough: also check the room for texts and find the layout again; otherwise keep the plain network's layout,
            which is enough to try a step.

    Returns:
        A function that removes virtual tokens again.
    """
    from peft.utils import ModulesToSaveWrapper

    plain, layout = classifier.network, classifier.layout
    trained = [(parameter, parameter.requires_grad) for parameter in plain.parameters()]

    def take_off() -> None:
        classifier.network = plain
        for path, module in list(plain.named_modules()):
            if isinstance(module, ModulesToSaveWrapper):
                plain.set_submodule(path, module.original_module)
        for parameter, was in trained:
            parameter.requires_grad_(was)
        classifier.use(layout)

    try:
        classifier.network = get_tuning(spec.method).attach(plain, spec, _modules_to_train(classifier))
        classifier.to(classifier.device)  # weights added by the method start on the CPU
        if thorough:
            check_room(classifier)
        if classifier.prompt_config is None or not thorough:
            classifier.use(layout)  # without virtual tokens the layout does not change
        classifier.layout  # noqa: B018 - found here, so that an unsupported architecture is refused before training
        _try_a_step(classifier)
    except Exception:
        take_off()
        raise
    return take_off


def _try_a_step(classifier: Classifier) -> None:
    """Run one forward and one backward pass as in training, without side effects."""
    training = classifier.training
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            classifier.train()
            inputs = classifier.inputs(sample_rows(classifier)[:2])
            labels = torch.zeros(len(inputs["input_ids"]), dtype=torch.long, device=classifier.device)
            classifier(**inputs, labels=labels)["loss"].backward()
        finally:
            classifier.zero_grad(set_to_none=True)
            classifier.train(training)


def _modules_to_train(classifier: Classifier) -> list[str]:
    """Return the modules to train: the whole head, and a pooler if it was missing from the checkpoint."""
    network = classifier.network
    inside = {name.split(".")[-3] for name in classifier.provenance.untrained if ".pooler." in name}
    head = {
        name
        for name, module in network.named_children()
        if name != network.base_model_prefix and any(True for _ in module.parameters())
    }
    return sorted(inside | (head - {"classifier", "score"}))  # PEFT adds these two by itself


def _lora_targets(network: Any) -> list[str] | None:
    """Return the layers to which LoRA is applied; None for PEFT's defaults, if it knows the architecture.

    Otherwise they are all linear layers below the head; in a mixture of experts only those of the attention, because
    experts are stored in stacks, for which PEFT has no dropout.
    """
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN
    from transformers.pytorch_utils import Conv1D

    prefix = f"{network.base_model_prefix}."
    config = network.config.get_text_config()
    has_experts = any(
        getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")
    )
    if network.config.model_type in KNOWN and not has_experts:
        return None
    linear = [
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and name.startswith(prefix) and ".pooler." not in name
    ]
    return [name for name in linear if "attn" in name or "attention" in name] if has_experts else linear


def _sizes(network: Any) -> dict[str, int]:
    """Return width, layers and heads, which PEFT finds by itself only under their most common config names."""
    config = network.config.get_text_config()
    return {
        "token_dim": network.get_input_embeddings().weight.shape[1],
        "num_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
    }


@tuning("full", rates=(1e-4, 5e-5, 2e-5), epochs=3, psim_rate=2e-5, paper=(2e-5, 3))
def full(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """Train all weights."""
    del spec, extra
    network.requires_grad_(True)
    return network


@tuning("lora", rates=(5e-4, 5e-4, 2e-4), epochs=3, psim_rate=2e-4, paper=(2e-3, 20), peft_type="LORA")
def lora(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """Train LoRA (Hu et al. 2021) on PEFT's default projections for the architecture, else on all linear layers."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="SEQ_CLS",
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=_lora_targets(network),
        modules_to_save=extra or None,
    )
    return get_peft_model(network, config)


@tuning("prompt_tuning", **_PROMPT, psim_rate=2e-3, peft_type="PROMPT_TUNING")
def prompt_tuning(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """Train free virtual tokens before the text (Lester et al. 2021)."""
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(
        task_type="SEQ_CLS",
        num_virtual_tokens=spec.virtual_tokens,
        modules_to_save=extra or None,
        **_sizes(network),
    )
    return get_peft_model(network, config)


@tuning("p_tuning_v1", **_PROMPT | {"rates": (2e-3, 2e-3, 2e-3)}, psim_rate=2e-4, peft_type="P_TUNING")
def p_tuning_v1(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """Train a small encoder that makes virtual tokens (Liu et al. 2021b); the paper's default for PSIM."""
    from peft import PromptEncoderConfig, get_peft_model

    config = PromptEncoderConfig(
        task_type="SEQ_CLS",
        num_virtual_tokens=spec.virtual_tokens,
        encoder_hidden_size=spec.encoder_hidden,
        modules_to_save=extra or None,
        **_sizes(network),
    )
    return get_peft_model(network, config)


@tuning("p_tuning_v2", **_PROMPT, psim_rate=2e-3, peft_type="PREFIX_TUNING")
def p_tuning_v2(network: Any, spec: TuneSpec, extra: list[str]) -> Any:
    """Train keys and values before every layer (Liu et al. 2021a): PEFT's prefix tuning."""
    from peft import PrefixTuningConfig, get_peft_model

    config = PrefixTuningConfig(
        task_type="SEQ_CLS", num_virtual_tokens=spec.virtual_tokens, modules_to_save=extra or None
    )
    return get_peft_model(network, config)
