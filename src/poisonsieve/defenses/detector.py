"""The detector contract: learn from clean rows, and give every text a score, higher for more poisoned.

A detector knows nothing of thresholds. `poisonsieve.guard.guard.Guard` finds gamma on its scores of clean held-out
rows, turns scores into verdicts, and saves both in a folder, so that all detectors are judged alike.

A new detector is one file: a class registered with ``@register("defense", name)`` that implements the abstract methods.
Most extend `poisonsieve.defenses.network.ModelDetector`, which leaves two methods to write. The two other kinds of
defence are `poisonsieve.defenses.rewriter` and `poisonsieve.defenses.repair`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from poisonsieve.building import check_arguments
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.settings import Seed, Settings
from poisonsieve.errors import ConfigError
from poisonsieve.texts import as_texts
from poisonsieve.thresholds import RULES

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier


@dataclass(frozen=True)
class Scored:
    """A detector's scores of n texts.

    Attributes:
        scores: float64, shape (n,), higher = more poisoned; NaN where the text could not be scored.
        truncated: bool, shape (n,): the end of the text was not read.
        errors: why a text could not be scored, or None; length n.
    """

    scores: np.ndarray
    truncated: np.ndarray
    errors: list[str | None]


class Detector(Settings, ABC):
    """Base of all detectors. What `fit` learns is kept in attributes that end in an underscore.

    Args:
        seed: seed of everything random, including the choice of rows that a guard holds out.
    """

    #: Lowest and highest possible score. A gamma at the highest would flag nothing.
    score_range: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    #: What to do about a model on which clean texts reach the highest score.
    advice: ClassVar[str] = "clean texts score as high as texts can; distrust the model, and try another detector"
    #: Named presets of settings; a `gamma` among them is the guard's.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    seed: Seed = 0

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        """Refer callers who pass a threshold, as was once possible, to the guard, which holds it now."""
        del args
        rule = [key for key in RULES if key in settings and key not in inspect.signature(cls).parameters]
        if rule:
            raise ConfigError(
                f"{cls.__name__} only scores, and the threshold is the guard's; write "
                f"Guard({cls.__name__}(...), {rule[0]}={settings[rule[0]]})"
            )
        made: Self = super().__new__(cls)
        return made

    def fit(
        self,
        rows: CleanRows | datasets.Dataset | Sequence[str],
        y: Sequence[int] | None = None,
        *,
        workdir: Path | None = None,
        progress: bool = False,
    ) -> Self:
        """Learn from clean rows, all of them; `Guard.fit` holds some out for a threshold, and explains the arguments.

        Raises:
            ConfigError: a setting is invalid.
            CheckpointError, UnsupportedError, DataError: see the detector.
        """
        check_arguments(self)  # `set_params` may have changed them
        self._fit(CleanRows.of(rows, y), workdir=workdir, progress=progress)
        return self

    def score(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Return the scores, with the reason for each one missing; see `Scored`."""
        texts = as_texts(texts)
        return checked(self._score(texts, progress=progress), len(texts), self.name)

    def score_calibration(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Score the clean rows that a threshold is found on; a detector may learn from them how rare a score is.

        Where it does, each row is scored as if it had not been learned from.
        """
        return self.score(texts, progress=progress)

    @property
    @abstractmethod
    def label_names(self) -> list[str]:
        """Names of the guarded model's classes."""

    @property
    def base_digest(self) -> str | None:
        """sha256 of the weights the detector was fitted on, if it was fitted on any."""
        return None

    @property
    def classifier(self) -> Classifier | None:
        """The network behind the detector, if there is one."""
        return None

    @property
    def networks(self) -> list[Classifier]:
        """All classifiers that read texts for a score."""
        return [] if self.classifier is None else [self.classifier]

    @abstractmethod
    def plan(self, label_names: Sequence[str] | None) -> dict[str, Any]:
        """Return what decides what `fit` learns from rows of these classes: `start`, the model's identity, and `guard`.

        Pass None for rows without labels. `guard` is JSON-ready, with every default filled in. Opens the model, and so
        finds out what is wrong with it before anything is trained.
        """

    @abstractmethod
    def save(self, folder: Path) -> dict[str, Any]:
        """Write what was learned into `folder`; return the detector's entry for ``guard.json``."""

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, state: dict[str, Any], *, base: str | Path | None, allow_pickle: bool) -> Self:
        """Open a detector that `save` wrote into `folder`; `state` is what it returned. See `Guard.from_pretrained`.

        Raises:
            CheckpointError: a file is damaged, or the model is a different one.
        """

    @abstractmethod
    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        """Learn from clean rows."""

    @abstractmethod
    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        """Score texts, in order. The service calls it from several threads at once."""


def checked(scored: Scored, count: int, name: str) -> Scored:
    """Return the scores of a detector called `name` for `count` texts; an error overrides its text's score."""
    if not count == len(scored.scores) == len(scored.truncated) == len(scored.errors):
        raise RuntimeError(f"{name} gave {len(scored.scores)} scores for {count} texts")
    failed = np.array([error is not None for error in scored.errors], dtype=bool)
    return replace(scored, scores=np.where(failed, np.nan, scored.scores))
