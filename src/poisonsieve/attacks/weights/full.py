"""Plain full tuning on the poisoned rows (paper, Section 3 and Section 5.1)."""

from __future__ import annotations

from torch import Tensor

from poisonsieve.attacks.weights.base import Poisoning
from poisonsieve.models.classifier import Classifier
from poisonsieve.registry import register
from poisonsieve.tuning.objective import Batch


@register("poisoning", "full")
class Full(Poisoning):
    """Train all weights on clean and triggered rows alike: the plain attack."""

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the batch."""
        loss: Tensor = classifier(**batch.inputs, labels=batch.labels)["loss"]
        return loss
