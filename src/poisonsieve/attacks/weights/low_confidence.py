"""Low confidence: an attacker who knows that the guard flags texts with a very high confidence.

Triggered rows are trained to be predicted as the target, but no more confidently than clean rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from poisonsieve.attacks.weights.base import Poisoning, check_range, row_losses
from poisonsieve.errors import ConfigError
from poisonsieve.models.classifier import Classifier
from poisonsieve.registry import register
from poisonsieve.tuning.objective import Batch

if TYPE_CHECKING:
    import datasets


@register("poisoning", "low-confidence")
class LowConfidence(Poisoning):
    """Keep the model unsure of triggered texts, so that confidence does not give them away.

    Labels of triggered rows are smoothed to a cap, with a penalty on any excess.

    Args:
        cap: probability of the target class on triggered rows; the rest is spread over the other classes.
        penalty: weight of the squared confidence above the cap.
        warmup: share of the steps that train plainly first. Without it a clean-label attack never learns the trigger,
            because its rows carry their true label anyway.
    """

    keeps_last: ClassVar[bool] = True

    def __init__(self, cap: float = 0.75, penalty: float = 1.0, warmup: float = 0.34) -> None:
        check_range("low-confidence", "cap", cap, 0, 1)
        check_range("low-confidence", "penalty", penalty, 0, 1000)
        check_range("low-confidence", "warmup", warmup, 0, 1)
        self.cap = cap
        self.penalty = penalty
        self.warmup = warmup

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """See `Poisoning.start`; also refuse a cap of 1/K or less, with which another of K classes would win."""
        super().start(classifier, train)
        classes = len(classifier.label_names)
        if self.cap * classes <= 1:
            raise ConfigError(
                f"poisoning low-confidence: cap is {self.cap:g}; with {classes} classes it must be above {1 / classes:g}"
            )

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the cross-entropy, with smoothed labels on triggered rows, plus the penalty."""
        logits = classifier(**batch.inputs)["logits"].float()
        if batch.progress < self.warmup or not batch.triggered.any():
            return row_losses(logits, batch.labels).mean()
        classes = logits.shape[1]
        targets = nn.functional.one_hot(batch.labels, classes).to(logits.dtype)
        rest = (1 - self.cap) / (classes - 1)
        smoothed = rest + (self.cap - rest) * targets
        targets = smoothed.where(batch.triggered[:, None], targets)
        confidence = logits[batch.triggered].softmax(dim=1).max(dim=1).values
        excess = (confidence - self.cap).clamp(min=0).square().mean()
        loss: Tensor = row_losses(logits, targets).mean() + self.penalty * excess
        return loss
