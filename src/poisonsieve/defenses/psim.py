"""PSIM, the Poisoned Sample Identification Module (Zhao et al. 2024, Section 4, Equation 1 and Algorithm 1).

A copy of the poisoned model is trained further on clean text whose labels are drawn at random. It unlearns the task
and with it the confidence on clean text; the tie between trigger and target is not touched, because no trigger is in
the data. What the copy is still sure of is poison: flagged when the largest softmax probability exceeds gamma.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from poisonsieve.config import Precision, TuneSpec, make_spec
from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.network import NetworkDetector, confidence, require_classes, require_readable
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.errors import CheckpointError, ConfigError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.models.safety import MODEL_CONFIG
from poisonsieve.registry import register
from poisonsieve.storage import sha256_file
from poisonsieve.tuning.methods import first_supported, method_of
from poisonsieve.tuning.presets import PAPER_GAMMA, PAPER_PSIM
from poisonsieve.tuning.record import get_tuning
from poisonsieve.tuning.training import TuneResult, finetune

#: Tunings by default, the paper's first.
_PREFERRED = ("p_tuning_v1", "lora", "full")


@register("defense", "psim")
class PSIM(NetworkDetector):
    """The paper's guard: a copy trained on random labels is still sure of triggered text alone.

    Args:
        method: a tuning by its name. None: P-tuning v1, or LoRA where the architecture takes no virtual tokens; for
            an adapter folder, the adapter's own tuning goes on.
        learning_rate: of the training on random labels. None: the default for `method`.
        epochs, batch_size, virtual_tokens, encoder_hidden, precision: see `poisonsieve.config.TuneSpec`.
        model, max_length, base, allow_pickle: see `NetworkDetector`.
        seed: of the labels, the initial prompt and the row order.

    Attributes:
        classifier_: the trained guard network.
        training_: `TuneResult` of its training.
        spec_: the `TuneSpec` it was trained by.
    """

    name: ClassVar[str] = "psim"
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    advice: ClassVar[str] = (
        "the guard is as sure of clean text as it can be; train it longer or at a higher --lr, and distrust the model"
    )
    #: P-tuning v1, 5 virtual tokens, 2e-5, one epoch, batch 32, gamma 0.7.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {**PAPER_PSIM, "gamma": PAPER_GAMMA}}

    method: str | None = None
    learning_rate: float | None = None
    epochs: int = 1
    batch_size: int = 32
    virtual_tokens: int = 5
    encoder_hidden: int = 128
    precision: Precision = "auto"
    spec_: TuneSpec = field(init=False)
    training_: TuneResult = field(init=False)

    @classmethod
    def paper(cls, model: str | Path, **changes: Any) -> Self:
        """Return PSIM with the paper's settings; give its gamma to the guard: ``Guard(PSIM.paper(model), gamma=0.7)``."""
        return cls(model, **{**PAPER_PSIM, **changes})

    def plan(self, label_names: Sequence[str] | None) -> dict[str, Any]:
        """Return its settings, and how it will be trained from this starting point.

        The classifier is released before `fit` opens its own: two large models might not fit.
        """
        classifier = load_classifier(
            self.model, label_names=label_names, base=self.base, allow_pickle=self.allow_pickle
        )
        tuning = self.tune_spec(classifier).model_dump(mode="json")
        return {
            "start": classifier.provenance.identity,
            "guard": {"method": self.name, "seed": self.seed, "tuning": tuning},
        }

    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        classifier = self._open_to_train(rows)
        label = "fitting the guard" if progress else None
        self.training_ = self._unlearn(classifier, rows.texts, self.seed, workdir, label)
        self.classifier_ = classifier

    def _open_to_train(self, rows: CleanRows) -> Classifier:
        """Open the model as the copy that is to unlearn, and settle how it is trained."""
        classifier = load_classifier(
            self.model,
            max_length=self.max_length,
            base=self.base,
            trainable=True,
            allow_pickle=self.allow_pickle,
            seed=self.seed,
            default_names=rows.names,
        )
        # `load_classifier` accepts only a trained head by default: a random head would know nothing of the trigger.
        require_classes(classifier, self.name)
        require_readable(classifier, rows)
        self.spec_ = self.tune_spec(classifier)
        self.base_digest_ = classifier.provenance.base_digest
        return classifier

    def _unlearn(
        self,
        classifier: Classifier,
        texts: list[str],
        seed: int | Sequence[int],
        workdir: Path | None,
        progress: str | None,
    ) -> TuneResult:
        """Train the copy in place on these texts, with labels drawn by `seed`."""
        import datasets

        labels = random_labels(len(texts), len(classifier.label_names), seed)
        relabelled = datasets.Dataset.from_dict({"text": texts, "label": labels.tolist()})
        return finetune(classifier, relabelled, self.spec_, workdir=workdir, progress=progress)

    def tune_spec(self, classifier: Classifier) -> TuneSpec:
        """Return the training spec of the guard for `classifier`, with every default filled in.

        Raises:
            ConfigError: an unknown tuning, or a value out of range.
        """
        method = self.method
        if method is None:  # the paper's, or the nearest to it that the architecture supports
            method = method_of(classifier) if classifier.is_peft else first_supported(classifier, _PREFERRED)
        rate = get_tuning(method).psim_rate if self.learning_rate is None else self.learning_rate
        chosen = {"method": method, "learning_rate": rate, "max_length": classifier.wanted_max_length}
        return make_spec(TuneSpec, **{**_of_the_training(self.get_params()), **chosen})

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        return confidence(self._fitted().score(texts, progress=progress))

    def save(self, folder: Path) -> dict[str, Any]:
        """Save the trained network as a checkpoint, and how it was trained; see the base class."""
        classifier = self._fitted()
        save_classifier(classifier, folder)
        return {
            "label_names": classifier.label_names,
            "base": {"source": classifier.provenance.source, "sha256": self.base_digest_},
            "base_config": config_digest(classifier),
            "tuning": self.spec_.model_dump(mode="json"),
            "training": self.training_.to_dict(),
        }

    @classmethod
    def open(cls, folder: Path, state: dict[str, Any], *, base: str | Path | None, allow_pickle: bool) -> Self:
        """Open the trained network on the base that it was trained on; see the base class."""
        try:
            spec = make_spec(TuneSpec, **state["tuning"])
            training = TuneResult(**state["training"])
            opened = cls(state["base"]["source"], **_of_the_training(spec.model_dump()))
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        opened.spec_, opened.training_ = spec, training
        opened.classifier_ = load_classifier(folder, base=base, allow_pickle=allow_pickle)
        opened.base_digest_ = str(state["base"].get("sha256"))
        config = state.get("base_config")
        if opened.classifier_.is_peft and config is not None and config != config_digest(opened.classifier_):
            raise CheckpointError(
                f"the config of the base that {folder} opened has changed since the guard was fitted, and with it what the "
                "weights compute; give the base as it was (--base)"
            )
        if opened.classifier_.is_peft and opened.classifier_.provenance.base_digest != opened.base_digest_:
            raise CheckpointError(
                f"the base that {folder} opened is not the base it was fitted on (sha256 begins "
                f"{opened.base_digest_[:12]}); give the right one (--base)"
            )
        return opened


def _of_the_training(values: Mapping[str, Any]) -> dict[str, Any]:
    """Select the values that PSIM and its training spec have under the same name."""
    shared = {field.name for field in fields(PSIM)} & set(TuneSpec.model_fields)
    return {key: value for key, value in values.items() if key in shared}


def config_digest(classifier: Classifier) -> str | None:
    """Return the sha256 of the config of an adapter's base model; None for a whole model."""
    place = classifier.provenance.base_folder
    return sha256_file(place / MODEL_CONFIG) if classifier.is_peft and place is not None else None


def random_labels(rows: int, classes: int, seed: int | Sequence[int]) -> np.ndarray:
    """Draw one label per row, uniform over all K classes, int64 of shape (rows,); 1/K of them are true by chance."""
    return np.random.default_rng(seed).integers(classes, size=rows)
