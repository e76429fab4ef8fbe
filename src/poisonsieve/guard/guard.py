"""The guard: a detector, and the threshold that turns its scores into verdicts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator

from poisonsieve import registry
from poisonsieve.defenses.detector import Detector, Scored
from poisonsieve.defenses.rows import CleanRows, texts_of
from poisonsieve.defenses.specs import DefenseSpec, make_defense, parse_defense, require_kind, threshold_of
from poisonsieve.errors import ConfigError, PoisonsieveWarning
from poisonsieve.guard import folder as guard_folder
from poisonsieve.guard.calibration import Calibration, hold_out, least_rows, require_enough
from poisonsieve.guard.reference import Reference
from poisonsieve.models.openvino import check_backend
from poisonsieve.storage import writing_folder
from poisonsieve.thresholds import CONFIDENCE, Threshold, is_flagged, rule_of

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier


class Guard(BaseEstimator):  # type: ignore[misc]
    """A detector with a threshold, with scikit-learn's conventions: ``Guard(PSIM("theta_p/"), frr=0.01).fit(clean)``.

    Args:
        detector: the detector that computes the scores, fitted or not.
        frr: the share of clean texts rejected at most, with 95% confidence over the draw of the calibration rows. Gamma
            is a quantile of held-out clean scores, with no assumption on the model or the scores; see
            `poisonsieve.thresholds.gamma_for_frr` for the exact statement. ``auto`` promises 0.01, or the lowest rate
            that the rows can promise, up to 0.05; a rate of your own is kept to or refused. None, with no other rule:
            keep the scores, and let `set_threshold` choose later.
        frr_mean: instead, the share of clean texts rejected on average over calibration sets.
        gamma: instead, a fixed threshold, such as the paper's 0.7.

    Attributes:
        calibration_: scores of the held-out clean rows, and the threshold; set by `fit`.
        reference_: hidden states of the same rows, to compare traffic with; None if its network returns none, or if an
            earlier version fitted it.
        folder: the folder it was opened from or saved to; None if there is none, or if it has changed since.
    """

    calibration_: Calibration
    reference_: Reference | None = None

    def __init__(
        self,
        detector: Detector,
        *,
        frr: float | Literal["auto"] | None = "auto",
        frr_mean: float | None = None,
        gamma: float | None = None,
    ) -> None:
        if not isinstance(detector, Detector):
            raise ConfigError(
                f"a guard is made of a detector, such as Guard(PSIM(model), frr=0.01), not of a {type(detector).__name__}; "
                "Guard.from_pretrained opens a folder"
            )
        self.detector = detector
        self.frr = frr
        self.frr_mean = frr_mean
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
            dataset: clean texts, or a data set with a `text` column. They must not contain triggers.
            y: true classes of the texts, for detectors that use them; by default a data set's own `label` column.
            calibration: clean rows that are not in `dataset`; any that are get left out. None: hold out a seeded fifth
                of `dataset`.
            workdir: folder for unfinished training, to resume from after a kill.
            progress: draw progress bars on stderr.

        Raises:
            CalibrationError: there are too few calibration rows for the false-rejection rate. Raised before training.
            ConfigError, CheckpointError, UnsupportedError, DataError: see the detector.
        """
        rule = self._rule
        rows = CleanRows.of(dataset, y)
        texts = None if calibration is None else texts_of(calibration)
        train, held_out = hold_out(rows, texts, self.detector.seed)
        rates = {key: rate for key, rate in rule.items() if key != "gamma"}
        require_enough(len(held_out), len(train), **rates, held_out_here=calibration is None)
        self.detector.fit(train, workdir=workdir, progress=progress)
        self._calibrate(held_out, rule, progress=progress)
        return self

    @property
    def _rule(self) -> dict[str, Any]:
        """The one rule that was asked for, as `Calibration.choose` takes it; empty if none was.

        Raises:
            ConfigError: several were.
        """
        return rule_of(frr=self.frr, frr_mean=self.frr_mean, gamma=self.gamma)

    def calibrate(self, held_out: datasets.Dataset | Sequence[str], *, progress: bool = False) -> Self:
        """Find the threshold again on other clean held-out texts, by the rule in force; no training.

        Raises:
            CalibrationError: there are too few rows, or the guard could flag nothing with the gamma found on them.
        """
        self._calibrate(texts_of(held_out), self.threshold_.asked, progress=progress)
        return self

    def _calibrate(self, held_out: Sequence[str], rule: Mapping[str, Any], *, progress: bool) -> None:
        scored = self.detector.score_calibration(held_out, progress="calibrating" if progress else None)
        least = least_rows(rule.get("frr"), rule.get("frr_mean"))
        found = Calibration.of(scored, self.detector, needed=1 if least is None else least[2])
        self._take(found.choose(**rule) if rule else found)
        self.reference_ = Reference.of(
            self.classifier, held_out, progress="reading calibration rows" if progress else None
        )

    def set_threshold(
        self,
        *,
        frr: float | Literal["auto"] | None = None,
        frr_mean: float | None = None,
        gamma: float | None = None,
    ) -> Self:
        """Choose another threshold from the stored calibration scores; no training, no data. See `Calibration.choose`."""
        self._require_fitted()
        self._take(self.calibration_.choose(frr=frr, frr_mean=frr_mean, gamma=gamma))
        return self

    def _take(self, calibration: Calibration) -> None:
        self.calibration_ = calibration
        self.folder = None

    def score(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Return the detector's scores, with the reason for each one missing."""
        return self.detector.score(texts, progress=progress)

    def decision_function(self, texts: Sequence[str]) -> np.ndarray:
        """Return scores, float64, shape (n,), higher = more poisoned; NaN where a text could not be scored."""
        return self.score(texts).scores

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """Return 1 for poisoned (flagged or unscorable), 0 for clean; int array of shape (n,)."""
        return is_flagged(self.decision_function(texts), self.threshold_.gamma).astype(int)

    def plan(self, label_names: Sequence[str] | None) -> dict[str, Any]:
        """Return everything that decides the result of `fit` on given rows, JSON-ready; see `Detector.plan`."""
        plan = self.detector.plan(label_names)
        rule = self._rule
        rate = rule.get("frr", rule.get("frr_mean"))
        confidence = {"confidence": CONFIDENCE} if "frr" in rule else {}
        return {**plan, "guard": {**plan["guard"], "frr": rate, "gamma": rule.get("gamma"), **confidence}}

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the guard folder, whole or not at all.

        Args:
            folder: the folder to write.
            overwrite: replace an existing guard.

        Raises:
            ConfigError: there is nothing to save yet; the folder holds a guard and `overwrite` is off; or it holds
                something else, which is never replaced.
            OutputError: the folder could not be written.
        """
        folder = Path(folder)
        self._require_fitted()
        guard_folder.require_room(folder, overwrite=overwrite)
        with writing_folder(folder) as target:
            self.write(target)
        self.folder = folder

    def write(self, folder: Path) -> None:
        """Write the guard's files into an existing, empty folder."""
        self._require_fitted()
        guard_folder.write(folder, self.detector, self.calibration_, self.reference_)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        base: str | Path | None = None,
        allow_pickle: bool = False,
        backend: str = "torch",
    ) -> Self:
        """Open a guard folder.

        Args:
            folder: folder written by `save_pretrained` or ``poisonsieve fit``.
            base: the current place of the model the detector was fitted on, if it was moved.
            allow_pickle: open pickled weights after a scan.
            backend: see `compute_with`.

        Raises:
            CheckpointError: not a guard folder, one of a newer version, or its base model has changed.
            ConfigError, UnsupportedError: see `compute_with`.
        """
        check_backend(backend)
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
        guard.reference_ = Reference.open(folder)
        guard.folder = folder
        return guard.compute_with(backend)

    def compute_with(self, backend: str) -> Self:
        """Let the detector's classifiers compute with ``torch`` or ``openvino``; see `Classifier.compute_with`.

        The threshold stays as it was found. Scores move by rounding, so a text that close to gamma may be judged otherwise;
        `calibrate` finds a threshold for the backend itself.

        Raises:
            ConfigError, UnsupportedError: see `Classifier.compute_with`.
        """
        networks = self.detector.networks
        for network in networks:
            network.compute_with(backend)
        if not networks and backend != "torch":
            warnings.warn(
                f"{self.detector.name} has no classifier of its own, so its work stays with torch",
                PoisonsieveWarning,
                stacklevel=2,
            )
        return self

    @property
    def threshold_(self) -> Threshold:
        """The threshold in force.

        Raises:
            ConfigError: no threshold has been chosen yet.
        """
        self._require_fitted()
        if self.calibration_.threshold is None:
            raise ConfigError(
                f"this {self.detector.name} guard has no threshold yet; call set_threshold (--frr, --frr-mean, --gamma)"
            )
        return self.calibration_.threshold

    @property
    def digest(self) -> str:
        """Return the sha256 of all files of its folder that decide a verdict, gamma included.

        Raises:
            ConfigError: the guard is in no folder.
            CheckpointError: a file of the folder is missing or damaged.
        """
        if self.folder is None:
            raise ConfigError("this guard is in no folder, so it has no digest; call save_pretrained first")
        return guard_folder.digest(self.folder)

    @property
    def label_names(self) -> list[str]:
        """Names of the guarded model's classes."""
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
    frr_mean: float | None = None,
    gamma: float | None = None,
    **common: Any,
) -> Guard:
    """Make the unfitted guard that a detector's spec describes: ``strip:copies=20``, or ``strip:copies=20,frr=0.05``.

    Args:
        defense: the detector; an `frr`, `frr_mean` or `gamma` among its arguments is the guard's, and takes precedence.
        preset: name of a preset (`Detector.presets`); anything given explicitly takes precedence.
        frr: see `Guard`. If no rule is given anywhere: the preset's, else ``auto``.
        frr_mean: see `Guard`.
        gamma: see `Guard`.
        common: see `poisonsieve.defenses.specs.make_defense`.

    Raises:
        ConfigError: see `make_defense`; or the detector has no such preset.
    """
    spec = parse_defense(defense) if isinstance(defense, str) else defense
    require_kind(spec, "detector")
    own, said = threshold_of(spec)
    settings = dict(_preset(spec.name, preset))
    default = settings.pop("gamma", None)
    detector = make_defense(own, **{**settings, **common})
    assert isinstance(detector, Detector)  # noqa: S101 - ensured by require_kind
    rule = said or rule_of(frr=frr, frr_mean=frr_mean, gamma=gamma)
    if not rule and default is not None:
        rule = {"gamma": default}
    return Guard(detector, **rule)


def _preset(name: str, preset: str) -> dict[str, Any]:
    presets = {"default": {}, **registry.get("defense", name).presets}
    if preset not in presets:
        raise ConfigError(f"unknown preset {preset!r}; {name} has: {', '.join(presets)}")
    return dict(presets[preset])
