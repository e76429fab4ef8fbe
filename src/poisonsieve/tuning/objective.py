"""What a training step minimises, when that is not the cross-entropy on the labels.

`finetune(..., objective=...)` leaves rows, order, optimizer, schedule and checkpoints as they are, and asks the
objective for the loss of every training batch. Dev rows are always judged by plain accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from poisonsieve.texts import TRIGGERED

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        inputs: `input_ids` and `attention_mask`, each (batch, tokens): what `Classifier.forward` takes.
        labels: int64, shape (batch,).
        triggered: bool, shape (batch,): which rows carry a trigger.
        progress: how much of all steps is done before this one, from 0 to less than 1.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    triggered: Tensor
    progress: float


class Objective(Protocol):
    """Decides the loss of a training run.

    A run that was killed calls `start` again on the untrained weights and then goes on from its checkpoint. So what an
    objective keeps must follow from its constructor and from `start`; chance comes from torch's generator, whose state
    is in the checkpoint.
    """

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """Before the first step, with the tuning already attached; may change weights.

        Args:
            classifier: what is trained.
            train: all training rows: `text`, `label`, and `triggered` where it is known.

        Raises:
            UnsupportedError: this architecture cannot be trained towards this objective.
            DataError: the rows do not have what it needs.
        """
        ...

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """The loss of one batch: a scalar with a graph. It runs the classifier itself, as often as it needs."""
        ...

    def finish(self, classifier: Classifier) -> None:
        """After the last step, on the weights that are kept."""
        ...


def trainer_class(objective: Objective | None) -> Any:
    """The Trainer that minimises `objective`; transformers' own without one."""
    import transformers

    if objective is None:
        return transformers.Trainer
    batch_loss = objective.loss

    class ObjectiveTrainer(transformers.Trainer):  # type: ignore[misc]
        """A Trainer whose training loss is the objective's."""

        def compute_loss(
            self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """The objective's loss in training, the plain one on dev rows."""
            if not model.training:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            labels, triggered = inputs.pop("labels"), inputs.pop(TRIGGERED)
            progress = self.state.global_step / self.state.max_steps
            return batch_loss(model, Batch(inputs, labels, triggered, progress))

    return ObjectiveTrainer
