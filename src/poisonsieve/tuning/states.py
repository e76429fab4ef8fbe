"""The states of a classifier's layers, and the head's prediction from each layer.

Layers are identified by their number, so that encoders and decoders of any family are treated alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from poisonsieve.errors import UnsupportedError
from poisonsieve.models.results import pool

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier


def layers_of(classifier: Classifier) -> list[nn.Module]:
    """Return the network's layers, first to last.

    Raises:
        UnsupportedError: the architecture has no separate layers, for example because it shares one layer.
    """
    depth = classifier.base.config.num_hidden_layers
    for module in classifier.base.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return list(module)
    kind = classifier.base.config.model_type
    raise UnsupportedError(f"a {kind} model has no {depth} layers of its own to read; use another architecture")


@contextlib.contextmanager
def layer_states(classifier: Classifier) -> Iterator[list[Tensor]]:
    """Yield a list that every forward pass in the block refills with each layer's states, (batch, tokens, width)."""
    layers = layers_of(classifier)
    states: list[Tensor] = []

    def record(module: nn.Module, _: Any, output: Any) -> None:
        if module is layers[0]:
            states.clear()
        states.append(_states(output))

    with _hooked([(layer, record) for layer in layers]):
        yield states


def where_the_class_is(classifier: Classifier, states: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """Pool states, (batch, tokens, width), as the head does, without virtual tokens: (batch, width)."""
    mask = inputs["attention_mask"]
    return pool(states[:, -mask.shape[1] :], mask, classifier.pooling)


def every_layers_logits(classifier: Classifier, inputs: dict[str, Tensor]) -> Tensor:
    """Compute the head's logits from each layer's states.

    The last layer's output is replaced by the states of all layers, concatenated along the batch, so that everything
    after the layers (norm, pooler, head) processes them in one pass.

    Args:
        classifier: a network with its head, in training or not.
        inputs: `input_ids` and `attention_mask`, each (batch, tokens).

    Returns:
        Logits of shape (layers, batch, K), first layer first; the last layer's are those of a plain forward pass.
    """
    layers = layers_of(classifier)
    read: list[Tensor] = []

    def give_all(_: nn.Module, __: Any, output: Any) -> Any:
        stacked = torch.cat([states[-1], *states[:-1]])  # last layer first, because a decoder picks the first rows
        return (stacked, *output[1:]) if isinstance(output, tuple) else stacked

    def note(_: nn.Module, __: Any, output: Tensor) -> None:
        read.append(output[:, -1] if output.ndim == 3 else output)

    head = _last_module(classifier.base) if classifier.is_decoder else None
    with layer_states(classifier) as states, _hooked([(layers[-1], give_all), *([(head, note)] if head else [])]):
        logits = classifier(**inputs)["logits"]
    flat = read[-1] if read else logits
    by_layer = flat.float().reshape(len(layers), len(inputs["input_ids"]), -1)
    return by_layer.roll(-1, dims=0)


def _last_module(network: Any) -> nn.Module:
    """Return a decoder's head, which reads every position before the last one is picked."""
    head: nn.Module = network.score if hasattr(network, "score") else network.classifier
    return head


@contextlib.contextmanager
def _hooked(hooks: list[tuple[nn.Module, Any]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _states(output: Any) -> Tensor:
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states
