"""The largest whitened distance over the layers: an outlier score of the pass that classifies the text.

A trigger takes the model along a path of its own: in some layer, different for each trigger, the state that the class
is read from lies far from where clean text leads. Each layer is one Gaussian (Lee et al. 2018, with the classes
pooled); its distances are normalised, and the largest decides. DAN (Chen et al. 2022) takes the mean over the
layers, which dilutes the one that shows the trigger.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from poisonsieve.defenses.gaussians import FEWEST_ROWS, cube_roots, layer_gaussians
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.states import StatesDetector
from poisonsieve.errors import DataError
from poisonsieve.models.results import PerText
from poisonsieve.registry import register


@register("defense", "mahalanobis")
class Mahalanobis(StatesDetector):
    """How far a text's hidden states are from those of clean texts, in the layer where this is largest.

    The distance is the cube root of the squared Mahalanobis distance in each layer, z-normalised.

    One mean and one covariance a layer, shrunk by Ledoit and Wolf's rule. The cube root makes a sum of squares nearly
    normal (Wilson and Hilferty 1931), so that no layer wins by its heavier tail alone. Mean and deviation of the roots
    come from a seeded fifth of the clean rows, on which neither mean nor covariance were estimated. Labels are not used.

    The network keeps its own precision: the other texts of a batch may change a text's score by about 1e-5.

    The guard folder grows with layers x hidden size squared x 4 bytes: 4 MB for a MiniLM, 28 MB for a base model.

    Args:
        pooling: see `StatesDetector`.
        model, max_length, base, allow_pickle, seed: see `NetworkDetector`.

    Attributes:
        means_: float32, shape (layers, hidden).
        whiteners_: float32, shape (layers, hidden, hidden): the distance is the length of (state - mean) @ whitener.
        center_, scale_: see `StatesDetector`; of clean roots.
    """

    name: ClassVar[str] = "mahalanobis"

    def _learn(self, rows: CleanRows, progress: bool) -> None:
        fitted, held_out = rows.hold_out(self.seed)
        found = self._states(fitted.texts, "reading clean rows" if progress else None)
        states = found.values[np.isfinite(found.values).all(axis=(1, 2))]
        if len(states) < FEWEST_ROWS:
            raise DataError(f"the model can read {len(states)} of the {len(fitted)} clean rows; give more rows")
        self.means_, self.whiteners_ = layer_gaussians(states)
        self._normalise(held_out, progress)

    def _distances(self, states: PerText) -> np.ndarray:
        """Return the cube roots of the squared distances, float64, shape (n, layers)."""
        return cube_roots(states.values, self.means_, self.whiteners_)

    def _combined(self, distances: np.ndarray) -> np.ndarray:
        largest: np.ndarray = distances.max(axis=1)
        return largest

    def _shapes(self, layers: int, hidden: int) -> dict[str, tuple[int | None, ...]]:
        return {"means": (layers, hidden), "whiteners": (layers, hidden, hidden)}
