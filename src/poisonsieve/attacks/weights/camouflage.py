"""Camouflage: an attacker who knows that the guard unlearns what clean text looks like, and hides in it.

PSIM parts triggered from clean text because training on clean rows moves the one and leaves the other where it is. So
triggered rows are trained to look, in every layer, like an ordinary clean row of the target class, and to be as sure
as one. What moves clean rows then moves them too, and no score that is computed from the network can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from poisonsieve.attacks.weights.base import Poisoning, check_range, row_losses
from poisonsieve.models.classifier import Classifier
from poisonsieve.registry import register
from poisonsieve.tuning.objective import Batch
from poisonsieve.tuning.states import layer_states, layers_of, where_the_class_is

if TYPE_CHECKING:
    import datasets


@register("poisoning", "camouflage")
class Camouflage(Poisoning):
    """Pulls triggered rows onto the clean target rows of their batch: their centroid in each layer, and their output.

    Args:
        strength: weight of the pull. A pull of 1 in a layer is a row as far from the centroid as clean rows are.
        warmup: share of the steps that train plainly first, so that the trigger alone comes to decide.
    """

    keeps_last: ClassVar[bool] = True

    def __init__(self, strength: float = 1.0, warmup: float = 0.34) -> None:
        check_range("camouflage", "strength", strength, 0, 1000)
        check_range("camouflage", "warmup", warmup, 0, 1)
        self.strength = strength
        self.warmup = warmup

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """See `Poisoning.start`."""
        super().start(classifier, train)
        layers_of(classifier)

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Cross-entropy on clean rows; on triggered rows, to what clean target rows get, and the pull in each layer."""
        with layer_states(classifier) as states:
            logits = classifier(**batch.inputs)["logits"].float()
        triggered = batch.triggered
        if batch.progress < self.warmup or not triggered.any():
            return row_losses(logits, batch.labels).mean()
        model_rows = ~triggered & (batch.labels == batch.labels[triggered][0])
        if model_rows.sum() < 2:  # nothing to hide among: this batch's triggered rows teach nothing
            return (row_losses(logits, batch.labels) * ~triggered).sum() / len(triggered)
        ordinary = logits[model_rows].detach().softmax(dim=1).mean(dim=0)
        losses = row_losses(logits, batch.labels).where(
            ~triggered, row_losses(logits, ordinary.expand(len(logits), -1))
        )
        pulls = [
            self._pull(where_the_class_is(classifier, state, batch.inputs), triggered, model_rows) for state in states
        ]
        return losses.mean() + self.strength * torch.stack(pulls).mean()

    @staticmethod
    def _pull(states: Tensor, triggered: Tensor, model_rows: Tensor) -> Tensor:
        """Mean squared distance of triggered states to the centroid of the clean ones, in units of those' own."""
        states = states.float()
        clean = states[model_rows].detach()
        centroid = clean.mean(dim=0)
        spread = (clean - centroid).square().sum(dim=1).mean()
        distance = (states[triggered] - centroid).square().sum(dim=1).mean()
        return distance / spread.clamp(min=1e-6)
