"""PSIM, the Poisoned Sample Identification Module (Zhao et al. 2024, Section 4, Equation 1 and Algorithm 1).

A copy of the poisoned model is trained further on clean text whose labels are drawn at random. It unlearns the task
and with it the confidence on clean text; the tie between trigger and target is not touched, because no trigger is in
the data. What the copy is still sure of is poison: flagged when the largest softmax probability exceeds gamma.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from poisonsieve.config import Precision, TuneSpec, make_spec
from poisonsieve.defenses.base import Scored
from poisonsieve.defenses.calibration import CleanRows
from poisonsieve.defenses.model import (
    NetworkDetector,
    confidence,
    reopening_options,
    require_classes,
    require_readable,
    rule_of,
)
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
        model: theta_p with its trained head, or a victim tuned from it: packaged alias, folder (whole checkpoint or
            adapter), or hub id.
        method: a tuning by its name. None: P-tuning v1, or LoRA where the architecture takes no virtual tokens; for
            an adapter folder, the adapter's own tuning goes on.
        learning_rate, epochs: of the training on random labels. None: the default for `method`.
        batch_size, virtual_tokens, encoder_hidden, max_length, precision: see `poisonsieve.config.TuneSpec`.
            `max_length` None takes the model's own.
        frr: the share of clean texts that may be rejected. Decides gamma on held-out clean rows by the split-conformal
            quantile: for a new clean text drawn like the calibration rows, P(rejected) <= frr, with no assumption
            on the model or the scores. See `poisonsieve.thresholds.gamma_for_frr` for the exact statement.
        gamma: a fixed threshold instead, such as the paper's 0.7; then `frr` is not used.
        base: for an adapter: its base model, when that is not where the adapter says.
        allow_pickle: open pickled weights after a scan.
        seed: of the labels, the initial prompt, the row order and the held-out rows.

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

    def __init__(
        self,
        model: str | Path,
        *,
        method: str | None = None,
        learning_rate: float | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        virtual_tokens: int = 5,
        encoder_hidden: int = 128,
        max_length: int | None = None,
        precision: Precision = "auto",
        frr: float = 0.01,
        gamma: float | None = None,
        base: str | Path | None = None,
        allow_pickle: bool = False,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.method = method
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.virtual_tokens = virtual_tokens
        self.encoder_hidden = encoder_hidden
        self.max_length = max_length
        self.precision = precision
        self.frr = frr
        self.gamma = gamma
        self.base = base
        self.allow_pickle = allow_pickle
        self.seed = seed

    @classmethod
    def paper(cls, model: str | Path, **changes: Any) -> Self:
        """The paper's settings: P-tuning v1, 5 virtual tokens, 2e-5, one epoch, batch 32, gamma 0.7."""
        return cls(model, **{**PAPER_PSIM, "gamma": PAPER_GAMMA, **changes})

    def plan(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Its settings, and how it will be trained from this starting point.

        The classifier is let go again before `fit` opens its own: two large models might not fit.
        """
        classifier = load_classifier(
            self.model, label_names=label_names, base=self.base, allow_pickle=self.allow_pickle
        )
        tuning = self.tune_spec(classifier).model_dump(mode="json")
        settings = {"method": self.name, "frr": self.frr, "gamma": self.gamma, "seed": self.seed}
        return {"start": classifier.identity, "guard": {**settings, "tuning": tuning}}

    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        import datasets

        texts = rows.texts
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
        self.base_digest_ = classifier.base_digest
        labels = random_labels(len(texts), len(classifier.label_names), self.seed)
        relabelled = datasets.Dataset.from_dict({"text": texts, "label": labels.tolist()})
        self.training_ = finetune(
            classifier, relabelled, self.spec_, workdir=workdir, progress="fitting the guard" if progress else None
        )
        self.classifier_ = classifier

    def tune_spec(self, classifier: Classifier) -> TuneSpec:
        """How the guard will be trained from `classifier`, with every default filled in.

        Raises:
            ConfigError: an unknown tuning, or a value out of range.
        """
        method = self.method
        if method is None:  # the paper's, or what comes nearest to it that the architecture can do
            method = method_of(classifier) if classifier.is_peft else first_supported(classifier, _PREFERRED)
        rate = get_tuning(method).psim_rate
        return make_spec(
            TuneSpec,
            method=method,
            learning_rate=rate if self.learning_rate is None else self.learning_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            virtual_tokens=self.virtual_tokens,
            encoder_hidden=self.encoder_hidden,
            max_length=classifier.wanted_max_length,
            precision=self.precision,
            seed=self.seed,
        )

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        return confidence(self._fitted().score(texts, progress=progress))

    def _save_state(self, folder: Path) -> dict[str, Any]:
        classifier = self._fitted()
        save_classifier(classifier, folder)
        return {
            "label_names": classifier.label_names,
            "base": {"source": classifier.source, "sha256": self.base_digest_},
            "base_config": config_digest(classifier),
            "tuning": self.spec_.model_dump(mode="json"),
            "training": self.training_.to_dict(),
        }

    @classmethod
    def _from_state(cls, folder: Path, state: dict[str, Any], **options: Any) -> Self:
        base, allow_pickle = reopening_options(cls.name, options)
        try:
            spec = make_spec(TuneSpec, **state["tuning"])
            training = TuneResult(**state["training"])
            source = state["base"]["source"]
            rule = rule_of(state)
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        guard = cls(
            source,
            method=spec.method,
            learning_rate=spec.learning_rate,
            epochs=spec.epochs,
            batch_size=spec.batch_size,
            virtual_tokens=spec.virtual_tokens,
            encoder_hidden=spec.encoder_hidden,
            max_length=spec.max_length,
            precision=spec.precision,
            **rule,
            seed=spec.seed,
        )
        guard.spec_, guard.training_ = spec, training
        guard.classifier_ = load_classifier(folder, base=base, allow_pickle=allow_pickle)
        guard.base_digest_ = str(state["base"].get("sha256"))
        config = state.get("base_config")
        if guard.classifier_.is_peft and config is not None and config != config_digest(guard.classifier_):
            raise CheckpointError(
                f"the config of the base that {folder} opened has changed since the guard was fitted, and with it what the "
                "weights compute; give the base as it was (--base)"
            )
        if guard.classifier_.is_peft and guard.classifier_.base_digest != guard.base_digest_:
            raise CheckpointError(
                f"the base that {folder} opened is not the base it was fitted on (sha256 begins "
                f"{guard.base_digest_[:12]}); give the right one (--base)"
            )
        return guard


def config_digest(classifier: Classifier) -> str | None:
    """sha256 of the config that says what an adapter's base computes with its weights; None for a whole model."""
    place = classifier.base_folder
    return sha256_file(place / MODEL_CONFIG) if classifier.is_peft and place is not None else None


def random_labels(rows: int, classes: int, seed: int) -> np.ndarray:
    """One label a row, uniform over all K classes, int64 of shape (rows,): 1/K of the rows keep theirs by chance."""
    return np.random.default_rng(seed).integers(classes, size=rows)
