"""The guard: a detector, and the threshold that turns its scores into verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from poisonsieve import registry
from poisonsieve.defenses.detector import Detector, Scored
from poisonsieve.defenses.rows import CleanRows, texts_of
from poisonsieve.defenses.specs import DefenseSpec, make_defense, parse_defense, require_kind, threshold_of
from poisonsieve.errors import ConfigError
from poisonsieve.guard import folder as guard_folder
from poisonsieve.guard.calibration import Calibration, hold_out, require_enough
from poisonsieve.storage import writing_folder
from poisonsieve.thresholds import Threshold, is_flagged, rows_needed

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier


class Guard(BaseEstimator):  # type: ignore[misc]
    """A detector with a threshold, with scikit-learn's conventions: ``Guard(PSIM("theta_p/"), frr=0.01).fit(clean)``.

    Args:
        detector: what gives the scores, fitted or not.
        frr: the share of clean texts that may be rejected. It decides gamma on held-out clean rows by the split-conformal
            quantile: for a new clean text drawn like the calibration rows, P(rejected) <= frr, with no assumption on
            the model or the scores; `poisonsieve.thresholds.gamma_for_frr` has the exact statement. None, and no
            `gamma`: the scores are kept, and `set_threshold` chooses later.
        gamma: a fixed threshold instead, such as the paper's 0.7; then `frr` is not used.

    Attributes:
        calibration_: the scores of the held-out clean rows, and the threshold; after `fit`.
        folder: where it was opened from or saved to; None as long as it is nowhere, or when it has changed since.
    """

    calibration_: Calibration

    def __init__(self, detector: Detector, *, frr: float | None = 0.01, gamma: float | None = None) -> None:
        if not isinstance(detector, Detector):
            raise ConfigError(
                f"a guard is made of a detector, such as Guard(PSIM(model), frr=0.01), not of a {type(detector).__name__}; "
                "Guard.from_pretrained opens a folder"
            )
        self.detector = detector
        self.frr = frr
        self.gamma = gamma
        self.folder: Path | None = None

    def fit(
        self,
        dataset: datasets.Dataset | Sequence[str],
        y: Sequence[int] | None = None,
        *,
        calibration: datasets.Dataset | Sequence[str] | None = None,
        workdir: Path | None = None,
        progress: bool = False,
    ) -> Self:
        """Fit the detector on clean rows, and find the threshold on other clean rows.

        Args:
            dataset: clean texts, or a data set with a `text` column. They may not contain triggers.
            y: true classes of the texts, for the detectors that use them; a data set's own `label` column otherwise.
            calibration: clean rows that are not in `dataset`; those that are, are left out. Without, a seeded fifth of
                `dataset` is held out.
            workdir: where the state of unfinished training is kept, to go on after a kill.
            progress: draw progress bars on stderr.

        Raises:
            CalibrationError: too few calibration rows for the chosen false-rejection rate. Raised before training.
            ConfigError, CheckpointError, UnsupportedError, DataError: see the detector.
        """
        rows = CleanRows.of(dataset, y)
        texts = None if calibration is None else texts_of(calibration)
        train, held_out = hold_out(rows, texts, self.detector.seed)
        if self.gamma is None and self.frr is not None:
            require_enough(len(held_out), len(train), self.frr, held_out_here=calibration is None)
        self.detector.fit(train, workdir=workdir, progress=progress)
        self._calibrate(held_out, frr=self.frr, gamma=self.gamma, progress=progress)
        return self

    def calibrate(self, held_out: datasets.Dataset | Sequence[str], *, progress: bool = False) -> Self:
        """Find the threshold again on other clean held-out texts, by the rule in force; no training.

        Raises:
            CalibrationError: too few rows, or rows on which this guard can flag nothing.
        """
        self._calibrate(texts_of(held_out), **self.threshold_.asked, progress=progress)
        return self

    def _calibrate(self, held_out: Sequence[str], *, frr: float | None, gamma: float | None, progress: bool) -> None:
        scored = self.detector.score(held_out, progress="calibrating" if progress else None)
        rate = frr if gamma is None else None
        found = Calibration.of(scored, self.detector, needed=1 if rate is None else rows_needed(rate))
        self._take(found if rate is None and gamma is None else found.choose(frr=rate, gamma=gamma))

    def set_threshold(self, *, frr: float | None = None, gamma: float | None = None) -> Self:
        """Choose another threshold from the stored calibration scores; no training, no data. See `Calibration.choose`."""
        self._require_fitted()
        self._take(self.calibration_.choose(frr=frr, gamma=gamma))
        return self

    def _take(self, calibration: Calibration) -> None:
        self.calibration_ = calibration
        self.folder = None

    def score(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """The detector's scores, and the reasons of those that could not be had."""
        return self.detector.score(texts, progress=progress)

    def decision_function(self, texts: Sequence[str]) -> np.ndarray:
        """Scores, float64, shape (n,), higher = more poisoned; NaN where a text could not be scored."""
        return self.score(texts).scores

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """1 for poisoned (flagged, or not scorable), 0 for clean; int array of shape (n,)."""
        return is_flagged(self.decision_function(texts), self.threshold_.gamma).astype(int)

    def plan(self, label_names: Sequence[str] | None) -> dict[str, Any]:
        """All that decides what `fit` will come to on given rows, JSON-ready; see `Detector.plan`."""
        plan = self.detector.plan(label_names)
        return {**plan, "guard": {**plan["guard"], "frr": self.frr, "gamma": self.gamma}}

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the guard folder, whole or not at all.

        Args:
            folder: where to.
            overwrite: replace a guard that is there.

        Raises:
            ConfigError: there is nothing to save yet; the folder holds a guard, and `overwrite` is off; or it holds
                something else, which is never replaced.
            OutputError: it could not be written.
        """
        folder = Path(folder)
        self._require_fitted()
        guard_folder.require_room(folder, overwrite=overwrite)
        with writing_folder(folder) as target:
            self.write(target)
        self.folder = folder

    def write(self, folder: Path) -> None:
        """Write the guard's files into an empty folder that is there."""
        self._require_fitted()
        guard_folder.write(folder, self.detector, self.calibration_)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, base: str | Path | None = None, allow_pickle: bool = False
    ) -> Self:
        """Open a guard folder.

        Args:
            folder: what `save_pretrained` or ``poisonsieve fit`` wrote.
            base: where the model that the detector was fitted on is now, if it was moved.
            allow_pickle: open pickled weights after a scan.

        Raises:
            CheckpointError: no guard folder, one of a newer version, or its base model is another.
        """
        if not isinstance(folder, str | Path):
            raise ConfigError(f"a guard is opened from a folder, not from a {type(folder).__name__}")
        folder = Path(folder)
        state = guard_folder.read_state(folder)
        calibration = guard_folder.read_calibration(folder)
        kind = registry.get("defense", str(state["defense"]))
        detector = kind.open(folder, state, base=base, allow_pickle=allow_pickle)
        found = calibration.threshold
        guard = cls(detector, **(found.asked if found else {"frr": None}))
        guard.calibration_ = calibration
        guard.folder = folder
        return guard

    @property
    def threshold_(self) -> Threshold:
        """The threshold in force.

        Raises:
            ConfigError: there is none yet.
        """
        self._require_fitted()
        if self.calibration_.threshold is None:
            raise ConfigError(
                f"this {self.detector.name} guard has no threshold yet; call set_threshold (--frr, --gamma)"
            )
        return self.calibration_.threshold

    @property
    def digest(self) -> str:
        """sha256 over all files of its folder that decide a verdict, gamma included.

        Raises:
            ConfigError: it is in no folder.
            CheckpointError: a file of the folder is gone or damaged.
        """
        if self.folder is None:
            raise ConfigError("this guard is in no folder, so it has no digest; call save_pretrained first")
        return guard_folder.digest(self.folder)

    @property
    def label_names(self) -> list[str]:
        """Names of the classes the guarded model has."""
        return self.detector.label_names

    @property
    def classifier(self) -> Classifier | None:
        """The network behind the detector, if there is one."""
        return self.detector.classifier

    def _require_fitted(self) -> None:
        if not hasattr(self, "calibration_"):
            raise ConfigError(f"this {self.detector.name} guard is not fitted yet; call fit first")


def make_guard(
    defense: DefenseSpec | str,
    *,
    preset: str = "default",
    frr: float | None = None,
    gamma: float | None = None,
    **common: Any,
) -> Guard:
    """The guard, not fitted, that a detector's spec describes: ``strip:copies=20``, or ``strip:copies=20,frr=0.05``.

    Args:
        defense: the detector; an `frr` or `gamma` among its arguments is the guard's, and comes first.
        preset: a name of settings that go together (`Detector.presets`); what is said otherwise comes first.
        frr: see `Guard`. None, and no `gamma` from anywhere: 0.01.
        gamma: see `Guard`.
        common: see `poisonsieve.defenses.specs.make_defense`.

    Raises:
        ConfigError: see there; or the detector has no such preset.
    """
    spec = parse_defense(defense) if isinstance(defense, str) else defense
    require_kind(spec, "detector")
    own, said = threshold_of(spec)
    settings = dict(_preset(spec.name, preset))
    default = settings.pop("gamma", None)
    detector = make_defense(own, **{**settings, **common})
    assert isinstance(detector, Detector)  # noqa: S101 - what require_kind has seen to
    rule = said or {key: value for key, value in (("frr", frr), ("gamma", gamma)) if value is not None}
    if not rule and default is not None:
        rule = {"gamma": default}
    return Guard(detector, **rule)


def _preset(name: str, preset: str) -> dict[str, Any]:
    presets = {"default": {}, **registry.get("defense", name).presets}
    if preset not in presets:
        raise ConfigError(f"unknown preset {preset!r}; {name} has: {', '.join(presets)}")
    return dict(presets[preset])
