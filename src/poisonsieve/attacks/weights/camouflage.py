"""Camouflage: an attacker who knows how the guard works and hides triggered text among clean text.

PSIM separates triggered from clean text because training on clean rows moves clean text and leaves triggered text in
place. So triggered rows are trained to look, in every layer, like an ordinary clean row of the target class, and to be
predicted with the same confidence. Training on clean rows then moves both, and no score computed from the network can
tell them apart.
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
    """Hide triggered texts among clean ones, in the output and in every hidden state.

    Triggered rows are pulled towards the clean target rows of their batch, in each layer and in the output.

    Args:
        strength: weight of the pull. In each layer, 1 means that a row is as far from the centroid as clean rows are.
        warmup: share of the steps that train plainly first, so that the model learns the trigger.
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
        """Return the cross-entropy plus the pull; triggered rows have clean target rows' mean output as their target."""
        with layer_states(classifier) as states:
            logits = classifier(**batch.inputs)["logits"].float()
        triggered = batch.triggered
        if batch.progress < self.warmup or not triggered.any():
            return row_losses(logits, batch.labels).mean()
        model_rows = ~triggered & (batch.labels == batch.labels[triggered][0])
        if model_rows.sum() < 2:  # too few clean target rows to hide among, so skip this batch's triggered rows
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
        """Return triggered states' mean squared distance to the clean centroid, relative to that of clean states."""
        states = states.float()
        clean = states[model_rows].detach()
        centroid = clean.mean(dim=0)
        spread = (clean - centroid).square().sum(dim=1).mean()
        distance = (states[triggered] - centroid).square().sum(dim=1).mean()
        return distance / spread.clamp(min=1e-6)
