"""What detectors share that have a network: PSIM, which trains one of its own, and those that read the model as it is.

The latter do not copy the model into the guard folder. They keep where it was and the digest of its files, beside what
they learned about it; a guard folder stays small, and is refused with any other model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from poisonsieve.defenses.base import Detector, Scored
from poisonsieve.defenses.calibration import CleanRows
from poisonsieve.errors import CheckpointError, ConfigError, HubError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.load import load_classifier
from poisonsieve.models.packaged import packaged_names
from poisonsieve.models.results import Logits
from poisonsieve.models.safety import is_adapter
from poisonsieve.verdict import cause_of

# Where the model is and how it may be opened: no part of what decides the scores.
_PLACES = ("model", "base", "allow_pickle")
_ENOUGH_TO_TELL = 12  # rows, to tell a model that can read from one that cannot
_FEWEST_TO_TELL = 10  # texts, to tell one that says the same of all
_SAME = 1e-6  # logits that differ by a smaller share differ by rounding


class NetworkDetector(Detector):
    """Base of detectors with a network behind them.

    Attributes:
        classifier_: the network that reads the texts.
        base_digest_: sha256 of the weights the detector was fitted on; of the base's for an adapter.
    """

    classifier_: Classifier
    base_digest_: str

    @property
    def base_digest(self) -> str:
        """sha256 of the weights the guard was fitted on; of the base's for an adapter."""
        self._fitted()
        return self.base_digest_

    @property
    def label_names(self) -> list[str]:
        """Names of the classes the guarded model has."""
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

    A subclass fills in `_learn` and `_score`, and `_save_own` and `_restore` where it has learned something. All its
    constructor arguments beside `model`, `base` and `allow_pickle` decide its scores, and are plain JSON values.

    Args:
        model: theta_p with its trained head, or a victim tuned from it: packaged alias, folder (whole checkpoint or
            adapter), or hub id.
        max_length: tokens a text is cut to; None takes the model's own.
        frr: the share of clean texts that may be rejected; decides gamma, see `poisonsieve.thresholds.gamma_for_frr`.
        gamma: a fixed threshold instead; then `frr` is not used.
        base: for an adapter: its base model, when that is not where the adapter says.
        allow_pickle: open pickled weights after a scan.
        seed: of everything that is drawn by chance, the held-out rows included.
    """

    #: Whether the score comes from what the model says, and not from its hidden states alone.
    reads_output: ClassVar[bool] = True

    def __init__(
        self,
        model: str | Path,
        *,
        max_length: int | None = None,
        frr: float = 0.01,
        gamma: float | None = None,
        base: str | Path | None = None,
        allow_pickle: bool = False,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.max_length = max_length
        self.frr = frr
        self.gamma = gamma
        self.base = base
        self.allow_pickle = allow_pickle
        self.seed = seed

    def plan(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Its settings, and the identity of the model it will read."""
        classifier = self._open(label_names)
        return {"start": classifier.identity, "guard": {"method": self.name, **self._settings(classifier)}}

    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        del workdir  # nothing here takes so long that it would have to be resumed
        self.classifier_ = self._open(default_names=rows.names)
        self.base_digest_ = self.classifier_.base_digest
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
        """All that decides the scores beside the model and the rows, JSON-ready, every default filled in."""
        chosen = {key: value for key, value in self.get_params().items() if key not in _PLACES}
        return {**chosen, "max_length": classifier.wanted_max_length}

    def _check_settings(self) -> None:
        """Refuse constructor arguments that make no sense.

        Raises:
            ConfigError: says which and why.
        """

    def _prepare(self, classifier: Classifier) -> None:
        """Set up a classifier that was just opened."""

    @abstractmethod
    def _learn(self, rows: CleanRows, progress: bool) -> None:
        """Learn from clean rows; `classifier_` is open."""

    def _save_own(self, folder: Path) -> dict[str, Any]:
        """Write what was learned into `folder`; return what of it belongs into ``guard.json``."""
        del folder
        return {}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        """Read what `_save_own` wrote; `classifier_` is open.

        Raises:
            CheckpointError: it is damaged.
        """

    def _save_state(self, folder: Path) -> dict[str, Any]:
        classifier = self._fitted()
        return {
            "label_names": classifier.label_names,
            "base": {
                "source": _absolute(self.model),
                "sha256": self.base_digest_,
                "identity": classifier.identity,
                "adapter": classifier.is_peft,
            },
            # The threshold in force is saved beside it, and need not be the constructor's any more.
            "settings": {
                key: value for key, value in self._settings(classifier).items() if key not in ("frr", "gamma")
            },
            **self._save_own(folder),
        }

    @classmethod
    def _from_state(cls, folder: Path, state: dict[str, Any], **options: Any) -> Self:
        base, allow_pickle = reopening_options(cls.name, options)
        try:
            source, settings = str(state["base"]["source"]), dict(state["settings"])
            identity, adapter = str(state["base"]["identity"]), bool(state["base"]["adapter"])
            guard = cls(source, **settings, **rule_of(state), allow_pickle=allow_pickle)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        if base is not None and adapter and not is_adapter(Path(base)):
            guard.base = base  # the adapter is where it was, its base is not
        elif base is not None:
            guard.model = base
        guard._reopen(folder, identity, [str(name) for name in state.get("label_names") or []] or None)
        guard._restore(folder, state)
        return guard

    def _reopen(self, folder: Path, identity: str, names: list[str] | None) -> None:
        try:
            self.classifier_ = self._open(default_names=names)
        except (CheckpointError, HubError) as error:
            raise type(error)(f"{folder}: its model cannot be opened; say where it is (--base): {error}") from None
        except ConfigError as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        if self.classifier_.identity != identity:
            raise CheckpointError(
                f"{self.model} is not the model that {folder} was fitted on (its files' sha256 begins "
                f"{self.classifier_.identity[:12]}, expected {identity[:12]}); give the right one (--base)"
            )
        self.base_digest_ = self.classifier_.base_digest


def require_classes(classifier: Classifier, name: str) -> None:
    """Refuse a head of one output, a regression: it has no classes to be sure of.

    Raises:
        CheckpointError: there is one output.
    """
    if len(classifier.label_names) < 2:
        raise CheckpointError(f"{classifier.source} has one output; {name} needs a head with two classes or more")


def require_readable(classifier: Classifier, rows: CleanRows, *, its_output: bool = True) -> None:
    """Refuse a model that can read none of some clean rows, or says the same of them all, before anything is trained.

    Args:
        classifier: the model.
        rows: some clean rows, of which the first are read.
        its_output: whether what it says of them matters, or its hidden states alone.

    Raises:
        CheckpointError: says what went wrong with them.
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
    """The largest softmax probability of each text as its score, in float64."""
    return Scored(logits.probabilities.max(axis=1, initial=-np.inf), logits.truncated, logits.errors)


def reopening_options(name: str, options: dict[str, Any]) -> tuple[Any, bool]:
    """`base` and `allow_pickle`, the options that a guard with a network is reopened with.

    Raises:
        ConfigError: there is another one.
    """
    unknown = sorted(set(options) - {"base", "allow_pickle"})
    if unknown:
        raise ConfigError(f"unknown option for a {name} guard: {', '.join(unknown)}; known: base, allow_pickle")
    return options.get("base"), bool(options.get("allow_pickle", False))


def rule_of(state: dict[str, Any]) -> dict[str, Any]:
    """The constructor's `frr` and `gamma` that stand for the rule in ``guard.json``.

    Raises:
        KeyError: the rule is missing.
    """
    if state["rule"] == "fixed":
        return {"gamma": state["gamma"]}
    return {"frr": state["frr"], "gamma": None}


def read_tensors(path: Path, shapes: dict[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file that a detector wrote.

    Args:
        path: the file.
        shapes: names, and the shape each must have; None where any length will do.

    Raises:
        CheckpointError: the file is damaged, or holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, np.ndarray] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; fit the guard again") from None
    wrong = sorted(set(tensors) ^ set(shapes)) or [
        name for name, shape in shapes.items() if not _fits(tensors[name].shape, shape)
    ]
    if wrong:
        raise CheckpointError(f"{path} is damaged: {wrong[0]} is missing or has another shape; fit the guard again")
    return tensors


def read_numbers(folder: Path, state: dict[str, Any], name: str, count: int) -> np.ndarray:
    """The list of numbers called `name` in ``guard.json``: float64, shape (count,), NaN for null.

    Raises:
        CheckpointError: it is missing or something else.
    """
    values = state.get(name)
    if not isinstance(values, list) or len(values) != count or not all(_is_number(value) for value in values):
        raise CheckpointError(f"{folder} is damaged: {name} is no list of {count} numbers; fit the guard again")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write a safetensors file."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _fits(shape: tuple[int, ...], wanted: Collection[int | None]) -> bool:
    return len(shape) == len(wanted) and all(want in (None, have) for have, want in zip(shape, wanted, strict=True))


def _absolute(source: str | Path) -> str:
    """A folder by its whole path, so that the guard opens from any working directory; aliases and hub ids as they are."""
    is_folder = str(source) not in packaged_names() and Path(source).is_dir()
    return str(Path(source).absolute()) if is_folder else str(source)
