"""What all detectors share: calibration, verdicts, saving.

A detector gives every text a score, higher for more poisoned, and flags what is above gamma. A new detector is one
file: a class registered with ``@register("defense", name)`` that fills in what is abstract here. Most extend
`poisonsieve.defenses.model.ModelDetector`, where two methods are left.
Gamma, the false-rejection rate, saving and loading come from here, so that all detectors are judged alike. The two
other kinds of defence are `poisonsieve.defenses.rewriter` and `poisonsieve.defenses.repair`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator

from poisonsieve import registry
from poisonsieve.defenses.calibration import CleanRows, check_seed, hold_out, require_enough, texts_of
from poisonsieve.environment import versions
from poisonsieve.errors import CalibrationError, CheckpointError, ConfigError
from poisonsieve.models.safety import read_json
from poisonsieve.storage import require_free, write_json, writing_folder
from poisonsieve.texts import as_texts
from poisonsieve.thresholds import Threshold, fixed_gamma, gamma_for_frr, is_flagged, rows_needed

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier

GUARD_FILE = "guard.json"
CALIBRATION_FILE = "calibration.json"
FORMAT_VERSION = 1
_HEADROOM = 1e-12  # between gamma and the highest score


@dataclass(frozen=True)
class Scored:
    """A detector's scores of n texts.

    Attributes:
        scores: float64, shape (n,), higher = more poisoned; NaN where the text could not be scored.
        truncated: bool, shape (n,): the text's end was not seen.
        errors: why a text could not be scored, or None; length n.
    """

    scores: np.ndarray
    truncated: np.ndarray
    errors: list[str | None]


class Detector(ABC, BaseEstimator):  # type: ignore[misc]
    """Base of all detectors, with scikit-learn's conventions.

    The constructor stores its arguments untouched; what `fit` learns ends in an underscore. `frr` and `gamma` are
    arguments of every detector: with `gamma` given, it is the threshold; else `frr` decides it on held-out clean rows.

    Attributes:
        threshold_: the `Threshold` in force, after `fit` or `calibrate`.
        calibration_scores_: scores of the held-out clean rows, float64, shape (m,), sorted.
    """

    name: ClassVar[str]
    #: The lowest and the highest score there can be. A gamma at the highest would flag nothing.
    score_range: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    #: What to do about a model on which clean texts score as high as texts can.
    advice: ClassVar[str] = "clean texts score as high as texts can; distrust the model, and try another detector"
    frr: float
    gamma: float | None
    seed: int

    def fit(
        self,
        dataset: datasets.Dataset | Sequence[str],
        y: Sequence[int] | None = None,
        *,
        calibration: datasets.Dataset | Sequence[str] | None = None,
        workdir: Path | None = None,
        progress: bool = False,
    ) -> Self:
        """Learn from clean rows, and find the threshold on other clean rows.

        Args:
            dataset: clean texts, or a data set with a `text` column. They may not contain triggers.
            y: true classes of the texts, for the detectors that use them; a data set's own `label` column otherwise.
            calibration: clean rows that are not in `dataset`; those that are, are left out. Without, a seeded fifth of
                `dataset` is held out.
            workdir: where the state of unfinished training is kept, to go on after a kill.
            progress: draw progress bars on stderr.

        Raises:
            CalibrationError: too few calibration rows for the chosen false-rejection rate. Raised before training.
            CheckpointError, UnsupportedError, DataError: see the detector.
        """
        check_seed(self.seed)
        rows = CleanRows.of(dataset, y)
        train, held_out = hold_out(rows, None if calibration is None else texts_of(calibration), self.seed)
        if self.gamma is None:
            require_enough(len(held_out), len(train), self.frr, held_out_here=calibration is None)
        self._fit(train, workdir=workdir, progress=progress)
        self._calibrate(held_out, self.frr, self.gamma, progress)
        return self

    def calibrate(self, held_out: datasets.Dataset | Sequence[str], *, progress: bool = False) -> Self:
        """Find the threshold again on other clean held-out texts, by the rule in force; no training.

        A text that cannot be scored is left out of the quantile: it is rejected whatever gamma is. The guarantee is
        for texts that can be scored.

        Raises:
            CalibrationError: too few rows, or rows on which this guard can flag nothing.
        """
        rule = self._threshold()
        self._calibrate(texts_of(held_out), rule.frr or self.frr, rule.gamma if rule.frr is None else None, progress)
        return self

    def _calibrate(self, held_out: Sequence[str], frr: float, gamma: float | None, progress: bool) -> None:
        scored = self.score(held_out, progress="calibrating" if progress else None)
        self.calibration_scores_ = np.sort(scored.scores[np.isfinite(scored.scores)])
        self.calibration_unscored_ = len(held_out) - len(self.calibration_scores_)
        _require_scored(scored, needed=rows_needed(frr) if gamma is None else 1)
        self.threshold_ = self._checked(
            self._fixed(gamma) if gamma is not None else gamma_for_frr(self.calibration_scores_, frr)
        )

    def _fixed(self, gamma: float) -> Threshold:
        return fixed_gamma(gamma, *self.score_range)

    def _checked(self, threshold: Threshold) -> Threshold:
        """Refuse a gamma that no score can exceed: such a guard passes everything."""
        if not threshold.gamma < self.score_range[1] - _HEADROOM:
            raise CalibrationError(
                f"gamma would be {threshold.gamma:.17g}, which no score can exceed, so nothing would ever be flagged: "
                f"{self.advice}"
            )
        return threshold

    def set_threshold(self, *, frr: float | None = None, gamma: float | None = None) -> Self:
        """Choose another threshold from the stored calibration scores; no training, no data.

        Raises:
            ConfigError: not exactly one of the two is given, or it is out of range.
            CalibrationError: too few calibration rows for `frr`.
        """
        if (frr is None) == (gamma is None):
            raise ConfigError("give exactly one of frr and gamma")
        found = self._fixed(gamma) if gamma is not None else gamma_for_frr(self._calibration(), frr or 0.0)
        self.threshold_ = self._checked(found)
        return self

    def score(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Scores with the reasons of those that could not be had; see `Scored`."""
        texts = as_texts(texts)
        scored = self._score(texts, progress=progress)
        if not len(texts) == len(scored.scores) == len(scored.truncated) == len(scored.errors):
            raise RuntimeError(f"{self.name} gave {len(scored.scores)} scores for {len(texts)} texts")
        # An error and a score contradict each other; the error wins everywhere.
        failed = np.array([error is not None for error in scored.errors], dtype=bool)
        return replace(scored, scores=np.where(failed, np.nan, scored.scores))

    def decision_function(self, texts: Sequence[str]) -> np.ndarray:
        """Scores, float64, shape (n,), higher = more poisoned; NaN where a text could not be scored."""
        return self.score(texts).scores

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """1 for poisoned (flagged, or not scorable), 0 for clean; int array of shape (n,)."""
        return is_flagged(self.decision_function(texts), self._threshold().gamma).astype(int)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the guard folder, whole or not at all. A guard that was there is replaced.

        Raises:
            ConfigError: the folder holds something else.
            OutputError: it could not be written.
        """
        self._threshold()
        require_guard_or_free(Path(folder))
        with writing_folder(Path(folder)) as target:
            self.write(target)

    def write(self, folder: Path) -> None:
        """Write the guard's files into a folder that is there, for one who sees to it that the folder becomes whole."""
        state = self._save_state(folder)
        write_json(folder / CALIBRATION_FILE, {"scores": self._calibration().tolist()})
        write_json(
            folder / GUARD_FILE,
            {
                "format_version": FORMAT_VERSION,
                "defense": self.name,
                **self._threshold().to_dict(),
                "calibration_unscored": self.calibration_unscored_,
                **state,
                "versions": versions(),
            },
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> Self:
        """Open a guard folder with the class that wrote it.

        Args:
            folder: what `save_pretrained` wrote.
            options: the detector's own, such as `base` for where the base model is now.

        Raises:
            CheckpointError: no guard folder, one of a newer version, or its base model is another.
        """
        if not isinstance(folder, str | Path):
            raise ConfigError(f"a guard is opened from a folder, not from a {type(folder).__name__}")
        folder = Path(folder)
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is no guard folder: it does not exist")
        if not (folder / GUARD_FILE).is_file():
            raise CheckpointError(
                f"{folder} is no guard folder: {GUARD_FILE} is missing; make one with poisonsieve fit"
            )
        state = read_json(folder / GUARD_FILE)
        if state.get("format_version") != FORMAT_VERSION:
            raise CheckpointError(
                f"{folder / GUARD_FILE} has format version {state.get('format_version')}, this poisonsieve reads "
                f"{FORMAT_VERSION}; update poisonsieve or fit the guard again"
            )
        kind = registry.get("defense", str(state.get("defense")))
        guard: Self = kind._from_state(folder, state, **options)
        try:
            guard.threshold_ = guard._checked(
                Threshold.from_dict({key: state[key] for key in Threshold.__dataclass_fields__ if key in state})
            )
            scores = read_json(folder / CALIBRATION_FILE)["scores"]
            guard.calibration_scores_ = np.asarray(scores, dtype=np.float64)
            guard.calibration_unscored_ = int(state.get("calibration_unscored", 0))
        except (KeyError, TypeError, ValueError, OverflowError, ConfigError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        return guard

    @property
    @abstractmethod
    def label_names(self) -> list[str]:
        """Names of the classes the guarded model has."""

    @property
    def base_digest(self) -> str | None:
        """sha256 of the weights the detector was fitted on, if it was fitted on any."""
        return None

    @property
    def classifier(self) -> Classifier | None:
        """The network behind the detector, if there is one."""
        return None

    @abstractmethod
    def plan(self, label_names: Sequence[str]) -> dict[str, Any]:
        """All that decides what `fit` will learn from given rows, JSON-ready, every default filled in.

        Opens the model, and so finds what is wrong with it before anything is trained.

        Args:
            label_names: the class names of the rows to come.
        """

    @abstractmethod
    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        """Learn from clean rows."""

    @abstractmethod
    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        """Score texts, in order. The service calls it from several threads at once."""

    @abstractmethod
    def _save_state(self, folder: Path) -> dict[str, Any]:
        """Write the detector's files into `folder`; return what belongs into `guard.json`."""

    @classmethod
    @abstractmethod
    def _from_state(cls, folder: Path, state: dict[str, Any], **options: Any) -> Self:
        """The detector that `_save_state` wrote."""

    def _threshold(self) -> Threshold:
        if not hasattr(self, "threshold_"):
            raise ConfigError(f"this {self.name} guard has no threshold yet; call fit first")
        return self.threshold_

    def _calibration(self) -> np.ndarray:
        self._threshold()
        return self.calibration_scores_


def _require_scored(scored: Scored, needed: int) -> None:
    """Say why too few calibration rows have a score, where the model is the reason and not a want of rows.

    Raises:
        CalibrationError: fewer than `needed` have one, and others could not be scored.
    """
    known = np.isfinite(scored.scores)
    reasons = Counter(
        error or "no finite score" for error, scores in zip(scored.errors, known, strict=True) if not scores
    )
    if not reasons or known.sum() >= needed:
        return
    raise CalibrationError(
        f"{reasons.total()} of the {len(known)} calibration rows could not be scored ({reasons.most_common(1)[0][0]}); "
        f"{needed} with a score are needed"
    )


def require_guard_or_free(folder: Path) -> None:
    """Refuse to replace, and so to delete, a folder that is no guard.

    Raises:
        ConfigError: it holds something else.
        OutputError: it cannot be written.
    """
    if not (folder / GUARD_FILE).is_file():
        require_free(folder)
