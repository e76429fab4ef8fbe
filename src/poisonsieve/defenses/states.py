"""Detectors that measure how far each layer's hidden state lies from those of clean text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from poisonsieve.defenses.gaussians import FEWEST_ROWS, center_and_scale
from poisonsieve.defenses.one_pass import OnePassDetector
from poisonsieve.defenses.tensors import read_tensors, write_tensors
from poisonsieve.errors import ConfigError, DataError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.results import Logits, PerText, Pooling

TENSORS_FILE = "distances.safetensors"


class StatesDetector(OnePassDetector):
    """Base of detectors that score by a distance in each layer, put on one scale and combined over the layers.

    A subclass implements `_learn`, which ends by calling `_normalise`; `_distances`; `_combined`; and `_shapes`.

    Args:
        pooling: which of a text's tokens stands for it in each layer: the ``first``, the ``last`` or the ``mean``. None
            takes the one that the head reads. Virtual tokens of a prompt are left out.

    Attributes:
        center_, scale_: mean and standard deviation of clean distances, float64, shape (layers,).
    """

    reads_output: ClassVar[bool] = False
    reads_states: ClassVar[bool] = True

    pooling: Pooling | None = None

    def _prepare(self, classifier: Classifier) -> None:
        self.pooling_ = self.pooling or classifier.pooling
        if classifier.is_decoder and self.pooling_ == "first":
            raise ConfigError("a decoder's first token has seen no other; take pooling last or mean")

    def _pooled_by(self) -> Pooling:
        return self.pooling_

    def _states(self, texts: Sequence[str], progress: str | None) -> PerText:
        return self._fitted().features(texts, pooling=self.pooling_, progress=progress)

    def _normalise(self, held_out: list[str], progress: bool) -> None:
        """Put the layers on one scale by rows that nothing else was estimated on."""
        distances = self._distances(self._states(held_out, "reading held-out rows" if progress else None))
        distances = distances[np.isfinite(distances).all(axis=1)]
        if len(distances) < FEWEST_ROWS:
            raise DataError(
                f"a fifth of the clean rows, without repeats and unreadable ones, is {len(distances)}, and {self.name} "
                f"needs {FEWEST_ROWS} to put the layers on one scale; give more rows"
            )
        self.center_, self.scale_ = center_and_scale(
            distances, of=str(self.model), remedy="try another pooling, or another model"
        )

    def _judge(self, logits: Logits, states: PerText | None) -> np.ndarray:
        assert states is not None  # noqa: S101 - it reads states; for the type checker
        del logits
        return self._combined((self._distances(states) - self.center_) / self.scale_)

    @abstractmethod
    def _distances(self, states: PerText) -> np.ndarray:
        """Return the distance in each layer, float64, shape (n, layers); NaN where there is no state."""

    @abstractmethod
    def _combined(self, distances: np.ndarray) -> np.ndarray:
        """Return one score per text, shape (n,), from its z-normalised distances, shape (n, layers)."""

    @abstractmethod
    def _shapes(self, layers: int, hidden: int) -> dict[str, tuple[int | None, ...]]:
        """Return name and shape of every array that was learned beside `center_` and `scale_`; None for any length."""

    def _save_own(self, folder: Path) -> dict[str, Any]:
        write_tensors(folder / TENSORS_FILE, {name: getattr(self, f"{name}_") for name in self._all_shapes()})
        return {"pooling": self.pooling_}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        for name, array in read_tensors(folder / TENSORS_FILE, self._all_shapes()).items():
            setattr(self, f"{name}_", array)

    def _all_shapes(self) -> dict[str, tuple[int | None, ...]]:
        layers, hidden = self._fitted().states_shape
        return {**self._shapes(layers, hidden), "center": (layers,), "scale": (layers,)}
