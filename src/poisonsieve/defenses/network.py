"""Bases of detectors with a network: PSIM, which trains its own, and detectors that read the model as it is.

The latter do not copy the model into the guard folder. They store its location and the digest of its files, beside what
they learned about it; a guard folder stays small, and is refused with any other model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from poisonsieve.config import Source
from poisonsieve.defenses.detector import Detector, Scored
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.errors import CheckpointError, ConfigError, HubError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.load import load_classifier
from poisonsieve.models.packaged import packaged_names
from poisonsieve.models.results import Logits
from poisonsieve.models.safety import is_adapter
from poisonsieve.verdict import cause_of

# Where the model is and how it may be opened does not affect the scores.
_PLACES = ("model", "base", "allow_pickle")
_ENOUGH_TO_TELL = 12  # rows needed to recognise a model that cannot read
_FEWEST_TO_TELL = 10  # texts needed to recognise one that answers all of them alike
_SAME = 1e-6  # relative difference of logits that may be mere rounding


class NetworkDetector(Detector):
    """Base of detectors with a network behind them.

    Args:
        model: theta_p with its trained head, or a victim tuned from it: packaged alias, folder (whole checkpoint or
            adapter), or hub id.
        max_length: tokens a text is truncated to; None: the model's own limit.
        base: for an adapter: its base model, when that is not where the adapter says.
        allow_pickle: open pickled weights after a scan.
        seed: see `Detector`.

    Attributes:
        classifier_: the network that reads the texts.
        base_digest_: sha256 of the weights the detector was fitted on; of the base's for an adapter.
    """

    model: str | Path = field(kw_only=False)
    max_length: int | None = None
    base: Source | None = None
    allow_pickle: bool = False
    classifier_: Classifier = field(init=False)
    base_digest_: str = field(init=False)

    @property
    def base_digest(self) -> str:
        """sha256 of the weights the guard was fitted on; of the base's for an adapter."""
        self._fitted()
        return self.base_digest_

    @property
    def label_names(self) -> list[str]:
        """Names of the guarded model's classes."""
        return self._fitted().label_names

    @property
    def classifier(self) -> Classifier:
        """The network that reads the texts."""
        return self._fitted()

    def _fitted(self) -> Classifier:
        if not hasattr(self, "classifier_"):
            raise ConfigError(f"this {self.name} guard is not fitted yet; call fit first")
        return self.classifier_


class ModelDetector(NetworkDetector):
    """Base of detectors that read a trained classifier as it is.

    A subclass implements `_learn` and `_score`, and `_save_own` and `_restore` if it learns anything. All its settings
    other than `model`, `base` and `allow_pickle` decide its scores, and are plain JSON values.
    """

    #: Whether the score depends on the model's output, rather than on its hidden states alone.
    reads_output: ClassVar[bool] = True

    def plan(self, label_names: Sequence[str] | None) -> dict[str, Any]:
        """Return its settings, and the identity of the model it will read."""
        classifier = self._open(label_names)
        return {"start": classifier.provenance.identity, "guard": {"method": self.name, **self._settings(classifier)}}

    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        del workdir  # nothing here takes long enough to need resuming
        self.classifier_ = self._open(default_names=rows.names)
        self.base_digest_ = self.classifier_.provenance.base_digest
        require_readable(self.classifier_, rows, its_output=self.reads_output)
        self._learn(rows, progress)

    def _open(
        self, label_names: Sequence[str] | None = None, default_names: Sequence[str] | None = None
    ) -> Classifier:
        self._check_settings()
        classifier = load_classifier(
            self.model,
            label_names=label_names,
            max_length=self.max_length,
            base=self.base,
            allow_pickle=self.allow_pickle,
            default_names=default_names,
        )
        require_classes(classifier, self.name)
        self._prepare(classifier)
        return classifier

    def _settings(self, classifier: Classifier) -> dict[str, Any]:
        """Return everything beside model and rows that decides the scores, JSON-ready, defaults filled in."""
        chosen = {key: value for key, value in self.get_params().items() if key not in _PLACES}
        return {**chosen, "max_length": classifier.wanted_max_length}

    def _check_settings(self) -> None:
        """Refuse invalid combinations of settings; annotations check each setting by itself.

        Raises:
            ConfigError: names the settings and the reason.
        """

    def _prepare(self, classifier: Classifier) -> None:
        """Prepare a newly opened classifier."""

    @abstractmethod
    def _learn(self, rows: CleanRows, progress: bool) -> None:
        """Learn from clean rows; `classifier_` is open."""

    def _save_own(self, folder: Path) -> dict[str, Any]:
        """Write what was learned into `folder`; return the detector's entry for ``guard.json``."""
        del folder
        return {}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        """Read what `_save_own` wrote; `classifier_` is open.

        Raises:
            CheckpointError: it is damaged.
        """

    def save(self, folder: Path) -> dict[str, Any]:
        """Save the settings and the identity of the model; the model stays where it is."""
        classifier = self._fitted()
        return {
            "label_names": classifier.label_names,
            "base": {
                "source": _absolute(self.model),
                "sha256": self.base_digest_,
                "identity": classifier.provenance.identity,
                "adapter": classifier.is_peft,
            },
            "settings": self._settings(classifier),
            **self._save_own(folder),
        }

    @classmethod
    def open(cls, folder: Path, state: dict[str, Any], *, base: str | Path | None, allow_pickle: bool) -> Self:
        """Open the detector with the model it was fitted on, wherever that is now; see the base class."""
        try:
            source, settings = str(state["base"]["source"]), dict(state["settings"])
            identity, adapter = str(state["base"]["identity"]), bool(state["base"]["adapter"])
            opened = cls(source, **settings, allow_pickle=allow_pickle)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        if base is not None and adapter and not is_adapter(Path(base)):
            opened.base = base  # the adapter is where it was, its base is not
        elif base is not None:
            opened.model = base
        opened._reopen(folder, identity, [str(name) for name in state.get("label_names") or []] or None)
        opened._restore(folder, state)
        return opened

    def _reopen(self, folder: Path, identity: str, names: list[str] | None) -> None:
        try:
            self.classifier_ = self._open(default_names=names)
        except (CheckpointError, HubError) as error:
            raise type(error)(f"{folder}: its model cannot be opened; give its location (--base): {error}") from None
        except ConfigError as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        if self.classifier_.provenance.identity != identity:
            raise CheckpointError(
                f"{self.model} is not the model that {folder} was fitted on (its files' sha256 begins "
                f"{self.classifier_.provenance.identity[:12]}, expected {identity[:12]}); give the right one (--base)"
            )
        self.base_digest_ = self.classifier_.provenance.base_digest


def require_classes(classifier: Classifier, name: str) -> None:
    """Refuse a regression head, with a single output: it has no classes to be sure of.

    Raises:
        CheckpointError: there is only one output.
    """
    if len(classifier.label_names) < 2:
        raise CheckpointError(f"{classifier.named} has one output; {name} needs a head with two classes or more")


def require_readable(classifier: Classifier, rows: CleanRows, *, its_output: bool = True) -> None:
    """Refuse, before training, a model that can read none of some clean rows, or gives all of them the same answer.

    Args:
        classifier: the model.
        rows: clean rows, the first of which are read.
        its_output: whether the model's output matters, or only its hidden states.

    Raises:
        CheckpointError: says what went wrong.
    """
    texts = list(dict.fromkeys(rows.texts))[:_ENOUGH_TO_TELL]
    read = classifier.score(texts)
    errors = read.errors
    known = read.values[np.isfinite(read.values).all(axis=1)]
    if its_output and len(known) >= _FEWEST_TO_TELL and np.ptp(known, axis=0).max() <= _SAME * np.abs(known).max():
        raise CheckpointError(
            f"{classifier.named} gives every text the same answer, so a guard would tell none from another; is it a model "
            "that reads texts, and was it opened by what reads it?"
        )
    failures = Counter(error for error in errors if error is not None and cause_of(error) != "no_tokens")
    if None in errors or not failures:
        return
    raise CheckpointError(
        f"{classifier.named} can read none of the first {len(errors)} clean rows: {failures.most_common(1)[0][0]}"
    )


def confidence(logits: Logits) -> Scored:
    """Score each text by its largest softmax probability, in float64."""
    return Scored(logits.probabilities.max(axis=1, initial=-np.inf), logits.truncated, logits.errors)


def _absolute(source: str | Path) -> str:
    """Return a folder's absolute path, so that the guard opens from any working directory; other sources unchanged."""
    is_folder = str(source) not in packaged_names() and Path(source).is_dir()
    return str(Path(source).absolute()) if is_folder else str(source)
