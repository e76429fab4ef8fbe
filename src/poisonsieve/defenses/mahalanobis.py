"""The largest whitened distance over the layers: an outlier score of the pass that classifies the text.

A trigger takes the model along a path of its own: in some layer, different for each trigger, the state that the class
is read from lies far from where clean text leads. Each layer is one Gaussian (Lee et al. 2018, with the classes
pooled); its distances are normalised, and the largest decides. DAN (Chen et al. 2022) takes the mean over the
layers, which dilutes the one that shows the trigger.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from poisonsieve.defenses.one_pass import StatesDetector
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.tensors import read_tensors, write_tensors
from poisonsieve.errors import CheckpointError, DataError
from poisonsieve.models.results import Logits, PerText
from poisonsieve.registry import register

TENSORS_FILE = "layers.safetensors"
#: Minimum number of rows to normalise the layers on; the mean and deviation of fewer are noise.
_FEWEST_ROWS = 10


@register("defense", "mahalanobis")
class Mahalanobis(StatesDetector):
    """Cube root of the squared Mahalanobis distance in each layer, z-normalised; the largest over the layers.

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
        center_, scale_: mean and standard deviation of clean roots, float64, shape (layers,).
    """

    name: ClassVar[str] = "mahalanobis"

    def _learn(self, rows: CleanRows, progress: bool) -> None:
        fitted, held_out = rows.hold_out(self.seed)
        found = self._states(fitted.texts, "reading clean rows" if progress else None)
        states = found.values[np.isfinite(found.values).all(axis=(1, 2))].astype(np.float64)
        if len(states) < _FEWEST_ROWS:
            raise DataError(f"the model can read {len(states)} of the {len(fitted)} clean rows; give more rows")
        means = states.mean(axis=0)
        self.means_ = means.astype(np.float32)
        self.whiteners_ = np.stack([whitener(states[:, layer] - mean) for layer, mean in enumerate(means)])
        self._normalise(held_out, progress)

    def _normalise(self, held_out: list[str], progress: bool) -> None:
        roots = self._roots(self._states(held_out, "reading held-out rows" if progress else None))
        roots = roots[np.isfinite(roots).all(axis=1)]
        if len(roots) < _FEWEST_ROWS:
            raise DataError(
                f"a fifth of the clean rows, without repeats and unreadable ones, is {len(roots)}, and {self.name} needs "
                f"{_FEWEST_ROWS} to put the layers on one scale; give more rows"
            )
        self.center_, self.scale_ = roots.mean(axis=0), roots.std(axis=0, ddof=1)
        if not (self.scale_ > 0).all():
            raise CheckpointError(
                f"layer {1 + int(np.argmin(self.scale_))} of {self.model} gives every text the same states; try another "
                "pooling, or another model"
            )

    def _roots(self, states: PerText) -> np.ndarray:
        """Return the cube roots of the squared distances, float64, shape (n, layers)."""
        # float32, and one product for all layers: for a single text this is much of the guard's extra cost.
        away = np.matmul(states.values.swapaxes(0, 1) - self.means_[:, None], self.whiteners_)
        roots: np.ndarray = np.cbrt(np.einsum("lnd,lnd->nl", away, away, dtype=np.float64))
        return roots

    def _judge(self, logits: Logits, states: PerText | None) -> np.ndarray:
        assert states is not None  # noqa: S101 - it reads states; for the type checker
        del logits
        found: np.ndarray = ((self._roots(states) - self.center_) / self.scale_).max(axis=1)
        return found

    def _save_own(self, folder: Path) -> dict[str, Any]:
        learned = {name: getattr(self, f"{name}_") for name in ("means", "whiteners", "center", "scale")}
        write_tensors(folder / TENSORS_FILE, learned)
        return {"pooling": self.pooling_}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        layers, hidden = self._fitted().states_shape
        shapes: dict[str, tuple[int | None, ...]] = {
            "means": (layers, hidden),
            "whiteners": (layers, hidden, hidden),
            "center": (layers,),
            "scale": (layers,),
        }
        tensors = read_tensors(folder / TENSORS_FILE, shapes)
        self.means_, self.whiteners_ = tensors["means"], tensors["whiteners"]
        self.center_, self.scale_ = tensors["center"], tensors["scale"]


def whitener(centered: np.ndarray) -> np.ndarray:
    """Return a root of the inverse shrunk covariance of centred rows: (n, d) -> (d, d), lower triangular, float32."""
    from sklearn.covariance import LedoitWolf

    precision: np.ndarray = LedoitWolf(assume_centered=True).fit(centered).precision_
    root: np.ndarray = np.linalg.cholesky(precision).astype(np.float32)
    return root
