"""Training objectives other than the cross-entropy on the labels.

`finetune(..., objective=...)` asks the objective for the loss of every training batch; rows, order, optimizer, schedule
and checkpoints stay the same. Dev rows are always judged by plain accuracy.
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
        inputs: `input_ids` and `attention_mask`, each (batch, tokens), as `Classifier.forward` takes them.
        labels: int64, shape (batch,).
        triggered: bool, shape (batch,): which rows carry a trigger.
        progress: share of all steps completed before this one, in [0, 1).
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    triggered: Tensor
    progress: float


class Objective(Protocol):
    """The loss of a training run.

    A resumed run calls `start` again on the untrained weights and then continues from its checkpoint. So an objective's
    state must follow from its constructor and `start`; randomness comes from torch's generator, whose state is in the
    checkpoint.
    """

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """Prepare for training, with the tuning already attached; may change weights.

        Args:
            classifier: the classifier being trained.
            train: all training rows: `text`, `label`, and `triggered` if known.

        Raises:
            UnsupportedError: the architecture does not support this objective.
            DataError: the rows lack what the objective needs.
        """
        ...

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the loss of one batch, a scalar with a graph. It runs the classifier itself, as often as needed."""
        ...

    def finish(self, classifier: Classifier) -> None:
        """Complete the training, after the last step, on the weights that are kept."""
        ...


def trainer_class(objective: Objective | None) -> Any:
    """Return a Trainer class that minimises `objective`, or transformers' own if there is none."""
    import transformers

    if objective is None:
        return transformers.Trainer
    batch_loss = objective.loss

    class ObjectiveTrainer(transformers.Trainer):  # type: ignore[misc]
        """A Trainer whose training loss is the objective's."""

        def compute_loss(
            self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """Return the objective's loss in training, and the plain loss on dev rows."""
            if not model.training:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            labels, triggered = inputs.pop("labels"), inputs.pop(TRIGGERED)
            progress = self.state.global_step / self.state.max_steps
            return batch_loss(model, Batch(inputs, labels, triggered, progress))

    return ObjectiveTrainer
