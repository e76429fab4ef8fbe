"""Feature shift: a repair that needs no clean ancestor of the model (after FST, Min et al. 2023).

The classes' rows of the head change places, so that the model answers every text by another class, and stay frozen, as
do the upper layers. The lower layers are then trained on clean rows: to be right again they have to give every clean
text other features than before. What clean rows do not contain, a trigger, nothing shifts: it still leads where it did,
and there another class is now read. At last all weights are tuned, to regain what accuracy the shift has cost.

FST, "Towards Stable Backdoor Purification through Feature Shift Tuning", draws a new head, and a penalty keeps it away from
the old one while all layers are trained. In the one run of it that was made, the trigger kept its whole effect.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from poisonsieve.building import check_arguments
from poisonsieve.config import Precision
from poisonsieve.data import labels_of
from poisonsieve.defenses.repair import WeightRepair, note_descent, open_whole
from poisonsieve.defenses.settings import AtLeastOne, Fraction, Seed, Share
from poisonsieve.defenses.trials import accuracy, keeps_to
from poisonsieve.errors import UnsupportedError
from poisonsieve.registry import register
from poisonsieve.tuning.objective import Batch
from poisonsieve.tuning.presets import spec_maker
from poisonsieve.tuning.states import layers_of
from poisonsieve.tuning.training import TuneResult, finetune

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier


@register("defense", "feature-shift")
class FeatureShift(WeightRepair):
    """Lets the classes change places in the head and has the lower layers learn clean rows anew; needs no clean model.

    Args:
        frozen: share of the layers, from the top, that are not trained while the features shift.
        max_ca_drop: how much lower than theta_p's own the clean dev accuracy may be, as a fraction; only judged.
        epochs: passes over the rows while the features shift.
        settling_epochs: passes afterwards, with all weights trained.
        learning_rate: of the second part; the first takes twice that. None: the default of a full tuning for the
            model's width.
        batch_size, max_length, precision: see `poisonsieve.config.TuneSpec`. None: the model's own length.
        allow_pickle: open pickled weights after a scan.
        seed: of the row order and dropout.
    """

    name: ClassVar[str] = "feature-shift"

    frozen: Share = 0.5
    max_ca_drop: Fraction = 0.01
    epochs: AtLeastOne = 4
    settling_epochs: AtLeastOne = 2
    learning_rate: float | None = None
    batch_size: int = 32
    max_length: int | None = None
    precision: Precision = "auto"
    allow_pickle: bool = False
    seed: Seed = 0

    def plan(self) -> dict[str, Any]:
        """Return its settings.

        Raises:
            ConfigError: a setting is out of range.
        """
        check_arguments(self)
        settings = self.get_params()
        del settings["allow_pickle"]
        return {"method": self.name, **settings}

    def repair(
        self,
        model: str | Path,
        clean: datasets.Dataset,
        dev: datasets.Dataset,
        *,
        workdir: Path | None = None,
        progress: bool = False,
    ) -> tuple[Classifier, dict[str, Any]]:
        """Return the model with shifted features; see the base class.

        Returns:
            The classifier, and: `frozen_layers`, `dev_ca`, `reference_dev_ca` (theta_p's own), `max_ca_drop`, `held`
            (whether `dev_ca` keeps to it), `shifting` and `training` (`TuneResult` of the two parts).

        Raises:
            UnsupportedError: `model` is an adapter, or the layers or the head of its architecture are not found.
            CheckpointError: `model` has no head for these classes.
            ConfigError: a setting is out of range, or training diverged.
        """
        check_arguments(self)
        repaired = open_whole(model, labels_of(clean), "trained", allow_pickle=self.allow_pickle, seed=self.seed)
        reference = accuracy(repaired, dev)
        lower = LowerLayers(repaired, self.frozen)
        change_places(repaired)
        with contextlib.ExitStack() as stack:
            folder = workdir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poisonsieve-")))
            shifting = self._tune(repaired, clean, dev, folder / "shifting", progress, lower)
            training = self._tune(repaired, clean, dev, folder / "settling", progress)
        note_descent(repaired, repaired)
        dev_ca = accuracy(repaired, dev)
        return repaired, {
            "frozen_layers": lower.frozen_layers,
            "dev_ca": dev_ca,
            "reference_dev_ca": reference,
            "max_ca_drop": self.max_ca_drop,
            "held": keeps_to(dev_ca, reference, self.max_ca_drop),
            "shifting": shifting.to_dict(),
            "training": training.to_dict(),
        }

    def _tune(
        self,
        classifier: Classifier,
        clean: datasets.Dataset,
        dev: datasets.Dataset,
        folder: Path,
        progress: bool,
        lower: LowerLayers | None = None,
    ) -> TuneResult:
        make = spec_maker(
            "full",
            epochs=self.settling_epochs if lower is None else self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            max_length=self.max_length,
            precision=self.precision,
            seed=self.seed,
        )
        spec = make(classifier)
        if lower is not None:
            spec = spec.model_copy(update={"learning_rate": 2 * spec.learning_rate})
        label = f"feature shift, {folder.name}" if progress else None
        return finetune(classifier, clean, spec, dev=dev, workdir=folder, progress=label, objective=lower)


class LowerLayers:
    """The cross-entropy, with only the word embeddings and the lower layers trained."""

    def __init__(self, classifier: Classifier, frozen: float) -> None:
        layers = layers_of(classifier)
        kept = max(1, len(layers) - max(1, round(frozen * len(layers))))
        self.frozen_layers = len(layers) - kept
        self._trained = nn.ModuleList([classifier.base.get_input_embeddings(), *layers[:kept]])

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """Freeze the rest."""
        del train
        classifier.requires_grad_(False)
        self._trained.requires_grad_(True)

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        loss: Tensor = classifier(**batch.inputs, labels=batch.labels)["loss"]
        return loss

    def finish(self, classifier: Classifier) -> None:
        """Unfreeze everything."""
        classifier.requires_grad_(True)


@torch.no_grad()
def change_places(classifier: Classifier) -> None:
    """Give each class the next class's row of the head, and the last one the first's, in place.

    Raises:
        UnsupportedError: no weights outside of the backbone have a row a class.
    """
    classes, prefix = len(classifier.label_names), f"{classifier.base.base_model_prefix}."
    rows = [
        weights
        for name, weights in classifier.base.named_parameters()
        if not name.startswith(prefix) and weights.shape[0] == classes
    ]
    if not rows:
        kind = classifier.base.config.model_type
        raise UnsupportedError(f"the head of a {kind} model has no row for each class; choose another repair")
    for weights in rows:
        weights.copy_(weights.roll(-1, dims=0))
