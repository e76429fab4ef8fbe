"""Layer-wise weight poisoning (Li et al. 2021, "Backdoor Attacks on Pre-trained Models by Layerwise Weight Poisoning").

Tuning changes the upper layers most and may erase a backdoor there. So every layer is poisoned: the head predicts the
class from each layer's states, and the losses of all layers, on clean and on triggered rows, are minimised together
(their Section 3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from poisonsieve.attacks.weights.base import Poisoning, check_range, row_losses
from poisonsieve.errors import UnsupportedError
from poisonsieve.models.classifier import Classifier
from poisonsieve.registry import register
from poisonsieve.tuning.objective import Batch
from poisonsieve.tuning.states import every_layers_logits

if TYPE_CHECKING:
    import datasets


@register("poisoning", "layerwise")
class Layerwise(Poisoning):
    """Poison every layer, so that tuning the upper ones does not wash the backdoor out.

    The classification loss is minimised on every layer's states, all read by the same head.

    Args:
        strength: weight of the lower layers' mean loss relative to the last layer's loss.
    """

    def __init__(self, strength: float = 1.0) -> None:
        check_range("layerwise", "strength", strength, 0, 1000)
        self.strength = strength

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """See `Poisoning.start`; also check with one pass that the head can read every layer."""
        super().start(classifier, train)
        inputs = classifier.inputs(classifier.encode(["a short text", "text"]).ids)
        try:
            with torch.no_grad():
                every_layers_logits(classifier, inputs)
        except RuntimeError:  # mismatched shapes
            kind = classifier.base.config.model_type
            raise UnsupportedError(
                f"the head of this {kind} model can read only the last layer, so layerwise cannot poison it; choose another "
                "poisoning"
            ) from None

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the last layer's loss plus `strength` times the mean loss of the others."""
        by_layer = every_layers_logits(classifier, batch.inputs)
        losses = [row_losses(logits, batch.labels).mean() for logits in by_layer]
        lower = sum(losses[:-1], start=losses[-1].new_zeros(())) / max(1, len(losses) - 1)
        return losses[-1] + self.strength * lower
