"""The interface of a weight-poisoning method: the objective for training theta_p on clean and triggered rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from poisonsieve.attacks.building import build
from poisonsieve.config import PoisoningSpec
from poisonsieve.errors import ConfigError, DataError
from poisonsieve.texts import TRIGGERED
from poisonsieve.tuning.objective import Batch

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier


class Poisoning(ABC):
    """Base class of the methods, each an objective for `poisonsieve.tuning.finetune`.

    An implementation is a class registered with ``@register("poisoning", name)``. Its constructor takes the method's own
    arguments, each with a default. The triggered rows already carry the target label.
    """

    #: Whether to keep the last epoch whatever the accuracy on clean dev rows, for methods that work in phases.
    keeps_last: ClassVar[bool] = False

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """Check that the training rows are partly triggered.

        Raises:
            DataError: no row is marked as triggered, or all are.
            UnsupportedError: the method cannot poison this architecture.
        """
        del classifier
        flags = list(train[TRIGGERED]) if TRIGGERED in train.column_names else []
        if not any(flags) or all(flags):
            raise DataError(
                f"{sum(flags)} of {len(train)} rows are marked as triggered; weight poisoning needs triggered and clean rows"
            )

    @abstractmethod
    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the loss of one batch."""

    def finish(self, classifier: Classifier) -> None:
        """Complete the poisoning after training; by default there is nothing to do."""
        del classifier


def make_poisoning(spec: PoisoningSpec | str) -> Poisoning:
    """Build the method that a spec, or its text form such as ``ripple:strength=0.1``, describes.

    Raises:
        ConfigError: there is no such method, or it has no such argument.
    """
    spec = PoisoningSpec.parse(spec) if isinstance(spec, str) else spec
    poisoning: Poisoning = build("poisoning", spec)
    return poisoning


def row_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each row's cross-entropy, shape (batch,); labels are classes, or probabilities of shape (batch, K)."""
    return nn.functional.cross_entropy(logits.float(), labels, reduction="none")


def check_range(method: str, name: str, value: float, low: float, high: float) -> None:
    """Refuse an argument outside [low, high].

    Raises:
        ConfigError: the argument is out of range; the message names it.
    """
    if not low <= value <= high:
        raise ConfigError(f"poisoning {method}: {name} is {value:g}; choose it from {low:g} to {high:g}")
