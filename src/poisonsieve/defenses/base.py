"""The protocols a defence implements, and what all detectors share: calibration, verdicts, saving.

A detector gives every text a score, higher for more poisoned, and flags what is above gamma. A new detector is one
file: a class registered with ``@register("defense", name)`` that fills in `_fit`, `_score` and the two state hooks.
Gamma, the false-rejection rate, saving and loading come from here, so that all detectors are judged alike.
"""

from __future__ import annotations

import importlib.metadata
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator

from poisonsieve import registry
from poisonsieve.errors import CalibrationError, CheckpointError, ConfigError, DataError
from poisonsieve.models.classifier import check_texts
from poisonsieve.models.safety import read_json
from poisonsieve.storage import require_free, write_json, writing_folder
from poisonsieve.thresholds import Threshold, fixed_gamma, gamma_for_frr, is_flagged, rows_needed

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier

GUARD_FILE = "guard.json"
CALIBRATION_FILE = "calibration.json"
FORMAT_VERSION = 1
#: Share of the clean rows that is held out for calibration when no rows are given for it.
HELD_OUT_SHARE = 0.2
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


class Detector(BaseEstimator):  # type: ignore[misc]
    """Base of all detectors, with scikit-learn's conventions.

    The constructor stores its arguments untouched; what `fit` learns ends in an underscore. `frr` and `gamma` are
    arguments of every detector: with `gamma` given, it is the threshold; else `frr` decides it on held-out clean rows.

    Attributes:
        threshold_: the `Threshold` in force, after `fit` or `calibrate`.
        calibration_scores_: scores of the held-out clean rows, float64, shape (m,), sorted.
    """

    name: ClassVar[str]
    #: The largest score there can be; a gamma at it would flag nothing.
    highest_score: ClassVar[float] = np.inf
    frr: float
    gamma: float | None
    seed: int

    def fit(
        self,
        dataset: datasets.Dataset | Sequence[str],
        y: object = None,
        *,
        calibration: datasets.Dataset | Sequence[str] | None = None,
        workdir: Path | None = None,
        progress: bool = False,
    ) -> Self:
        """Learn from clean rows, and find the threshold on other clean rows.

        Args:
            dataset: clean texts, or a data set with a `text` column. They may not contain triggers.
            y: ignored; there for scikit-learn's sake.
            calibration: clean rows that are not in `dataset`; those that are, are left out. Without, a seeded fifth of
                `dataset` is held out.
            workdir: where the state of unfinished training is kept, to go on after a kill.
            progress: draw progress bars on stderr.

        Raises:
            CalibrationError: too few calibration rows for the chosen false-rejection rate. Raised before training.
            CheckpointError, UnsupportedError, DataError: see the detector.
        """
        del y
        train, held_out = self._split(_texts(dataset), None if calibration is None else _texts(calibration))
        if self.gamma is None and len(held_out) < rows_needed(self.frr):
            raise _too_few(len(held_out), len(train), self.frr, held_out_here=calibration is None)
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
        self._calibrate(_texts(held_out), rule.frr or self.frr, rule.gamma if rule.frr is None else None, progress)
        return self

    def _calibrate(self, held_out: Sequence[str], frr: float, gamma: float | None, progress: bool) -> None:
        scored = self.score(held_out, progress="calibrating" if progress else None)
        self.calibration_scores_ = np.sort(scored.scores[np.isfinite(scored.scores)])
        self.calibration_unscored_ = int(np.sum(~np.isfinite(scored.scores)))
        self.threshold_ = self._checked(
            fixed_gamma(gamma) if gamma is not None else gamma_for_frr(self.calibration_scores_, frr)
        )

    def _checked(self, threshold: Threshold) -> Threshold:
        """Refuse a gamma that no score can exceed: such a guard passes everything."""
        if not threshold.gamma < self.highest_score - _HEADROOM:
            raise CalibrationError(
                f"gamma would be {threshold.gamma:.17g}, which no score can exceed, so nothing would ever be flagged: the "
                "guard is as sure of clean text as it can be; train it longer or at a higher --lr, and distrust the model"
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
        found = fixed_gamma(gamma) if gamma is not None else gamma_for_frr(self._calibration(), frr or 0.0)
        self.threshold_ = self._checked(found)
        return self

    def score(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Scores with the reasons of those that could not be had; see `Scored`."""
        check_texts(texts)
        scored = self._score(list(texts), progress=progress)
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
        threshold = self._threshold()
        require_guard_or_free(Path(folder))
        with writing_folder(Path(folder)) as target:
            state = self._save_state(target)
            write_json(target / CALIBRATION_FILE, {"scores": self._calibration().tolist()})
            write_json(
                target / GUARD_FILE,
                {
                    "format_version": FORMAT_VERSION,
                    "defense": self.name,
                    **threshold.to_dict(),
                    "calibration_unscored": self.calibration_unscored_,
                    **state,
                    "versions": _versions(),
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
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        guard.calibration_unscored_ = int(state.get("calibration_unscored", 0))
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
    def _fit(self, texts: list[str], *, workdir: Path | None, progress: bool) -> None:
        """Learn from clean texts."""

    @abstractmethod
    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        """Score texts, in order."""

    @abstractmethod
    def _save_state(self, folder: Path) -> dict[str, Any]:
        """Write the detector's files into `folder`; return what belongs into `guard.json`."""

    @classmethod
    @abstractmethod
    def _from_state(cls, folder: Path, state: dict[str, Any], **options: Any) -> Self:
        """The detector that `_save_state` wrote."""

    def _split(self, texts: list[str], calibration: list[str] | None) -> tuple[list[str], list[str]]:
        if not texts:
            raise DataError("there are no clean rows to fit on")
        if calibration is not None:
            fresh = _unseen(calibration, texts)
            if len(fresh) * 2 < len(calibration):
                raise CalibrationError(
                    f"{len(calibration) - len(fresh)} of {len(calibration)} calibration rows are training rows too; the "
                    "false-rejection rate would not hold: give other clean rows, or none to have a fifth held out"
                )
            return texts, fresh
        order = np.random.default_rng(self.seed).permutation(len(texts))
        chosen = set(order[: round(HELD_OUT_SHARE * len(texts))].tolist())
        train = [text for index, text in enumerate(texts) if index not in chosen]
        return train, _unseen([text for index, text in enumerate(texts) if index in chosen], train)

    def _threshold(self) -> Threshold:
        if not hasattr(self, "threshold_"):
            raise ConfigError(f"this {self.name} guard has no threshold yet; call fit first")
        return self.threshold_

    def _calibration(self) -> np.ndarray:
        self._threshold()
        return self.calibration_scores_


def _too_few(held_out: int, train: int, frr: float, *, held_out_here: bool) -> CalibrationError:
    needed = rows_needed(frr)
    says = f"a false-rejection rate of {frr:g} needs at least {needed} held-out clean rows and there are {held_out}"
    if not held_out_here:
        return CalibrationError(f"{says}; give more rows or a higher rate")
    rows = math.ceil(needed / HELD_OUT_SHARE)
    return CalibrationError(
        f"{says} (a fifth of the {train + held_out} rows); give {rows} rows, or {needed} other rows to calibrate on, or a "
        "higher rate"
    )


def _unseen(rows: list[str], train: list[str]) -> list[str]:
    """Rows whose text is not among the training rows: real data repeats itself, and a repeated row is no held-out row."""
    known = set(train)
    return [row for row in rows if row not in known]


def require_guard_or_free(folder: Path) -> None:
    """Refuse to replace, and so to delete, a folder that is no guard.

    Raises:
        ConfigError: it holds something else.
        OutputError: it cannot be written.
    """
    if not (folder / GUARD_FILE).is_file():
        require_free(folder)


def _texts(data: Any) -> list[str]:
    if hasattr(data, "column_names"):
        return list(data["text"])
    check_texts(data)
    return list(data)


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("poisonsieve", "torch", "transformers", "peft")}
