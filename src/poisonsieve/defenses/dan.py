"""DAN, the distance-based anomaly score (Chen et al. 2022, "Expose Backdoors on the Way").

Triggered text lies away from all classes of clean text in the hidden layers, whatever the output says of it. The score
is its distance from the nearest class in each layer, put on one scale and averaged over the layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from poisonsieve.defenses.one_pass import StatesDetector
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.tensors import read_tensors, write_tensors
from poisonsieve.errors import CheckpointError, DataError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.results import Logits, PerText
from poisonsieve.registry import register

TENSORS_FILE = "distances.safetensors"
#: Minimum number of rows to normalise the layers on; the mean and deviation of fewer are noise.
_FEWEST_ROWS = 10


@register("defense", "dan")
class DAN(StatesDetector):
    """Mahalanobis distance to the nearest class, z-normalised per layer and averaged over the layers.

    Each layer has the mean of each class and one covariance that all classes share, shrunk by Ledoit and Wolf's rule:
    there may be fewer rows than dimensions. Distances are squared. Their mean and deviation come from a seeded fifth of
    the clean rows, on which neither means nor covariance were estimated: distances of the rows they were estimated on
    are too small. Classes are the true labels where there are any, else the model's own predictions.

    The network runs in float64, which cost a quarter of the speed of a MiniLM on one core. In float32 the other texts
    of a batch would change a text's score by 1e-5.

    The guard folder grows with layers x hidden size squared x 8 bytes: 7 MB for a MiniLM, 57 MB for a base model.

    Args:
        pooling: which of a text's tokens stands for it in each layer. The paper takes [CLS], the ``first``. That is the
            default of an encoder, because its head reads the class there; of one whose config has the head read the
            ``mean``, that is; and of a decoder the ``last`` token, the only one that has seen the whole text. Virtual
            tokens of a prompt are left out.
        model, max_length, base, allow_pickle, seed: see `NetworkDetector`.

    Attributes:
        means_: float64, shape (layers, classes seen, hidden).
        precisions_: inverse of the shared covariance, float64, shape (layers, hidden, hidden).
        center_, scale_: mean and standard deviation of clean distances, float64, shape (layers,).
    """

    name: ClassVar[str] = "dan"

    def _prepare(self, classifier: Classifier) -> None:
        """Compute in float64: the inverse covariance amplifies float32 rounding differences caused by padding."""
        super()._prepare(classifier)
        classifier.double()

    def _learn(self, rows: CleanRows, progress: bool) -> None:
        fitted, held_out = self._classed(rows, progress).hold_out(self.seed)
        features, classes = self._features_of_rows(fitted, "reading clean rows" if progress else None)
        known = sorted(set(classes.tolist()))
        layers = [features[:, layer] for layer in range(features.shape[1])]
        means = [np.stack([layer[classes == label].mean(axis=0) for label in known]) for layer in layers]
        own = np.searchsorted(known, classes)
        self.means_ = np.stack(means)
        self.precisions_ = np.stack([precision(x - mean[own]) for x, mean in zip(layers, means, strict=True)])
        self._normalise(held_out, progress)

    def _classed(self, rows: CleanRows, progress: bool) -> CleanRows:
        """Return the rows with a class each. A data set without labels may carry -1 for all."""
        if rows.labels is not None and min(rows.labels) >= 0:
            return rows
        logits = self._fitted().score(rows.texts, progress="predicting" if progress else None)
        return CleanRows(rows.texts, logits.predictions.tolist())

    def _features_of_rows(self, rows: CleanRows, progress: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Return features and classes of the rows that can be read."""
        found = self._states(rows.texts, progress)
        read = np.array([error is None for error in found.errors], dtype=bool)
        if not read.any():
            raise DataError(f"the model can read none of the {len(rows)} clean rows ({found.errors[0]})")
        return found.values[read], np.array(rows.labels)[read]

    def _normalise(self, held_out: list[str], progress: bool) -> None:
        distances = self._distances(self._states(held_out, "reading held-out rows" if progress else None))
        distances = distances[np.isfinite(distances).all(axis=1)]
        if len(distances) < _FEWEST_ROWS:
            raise DataError(
                f"a fifth of the clean rows, without repeats and unreadable ones, is {len(distances)}, and dan needs "
                f"{_FEWEST_ROWS} to put the layers on one scale; give more rows"
            )
        self.center_, self.scale_ = distances.mean(axis=0), distances.std(axis=0, ddof=1)
        if not (self.scale_ > 0).all():
            raise CheckpointError(
                f"layer {1 + int(np.argmin(self.scale_))} of {self.model} gives every text the same features; try "
                "another pooling, or another model"
            )

    def _distances(self, states: PerText) -> np.ndarray:
        """Return the squared distance to the nearest class in each layer, float64 (n, layers)."""
        layers = [
            nearest(states.values[:, layer], self.means_[layer], self.precisions_[layer])
            for layer in range(len(self.means_))
        ]
        return np.stack(layers, axis=1)

    def _judge(self, logits: Logits, states: PerText | None) -> np.ndarray:
        assert states is not None  # noqa: S101 - it reads states; for the type checker
        del logits
        found: np.ndarray = ((self._distances(states) - self.center_) / self.scale_).mean(axis=1)
        return found

    def _save_own(self, folder: Path) -> dict[str, Any]:
        write_tensors(
            folder / TENSORS_FILE,
            {"means": self.means_, "precisions": self.precisions_, "center": self.center_, "scale": self.scale_},
        )
        return {"pooling": self.pooling_}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        layers, hidden = self._fitted().states_shape
        shapes = {
            "means": (layers, None, hidden),
            "precisions": (layers, hidden, hidden),
            "center": (layers,),
            "scale": (layers,),
        }
        tensors = read_tensors(folder / TENSORS_FILE, shapes)
        self.means_, self.precisions_ = tensors["means"], tensors["precisions"]
        self.center_, self.scale_ = tensors["center"], tensors["scale"]


def precision(centered: np.ndarray) -> np.ndarray:
    """Return the inverse shrunk covariance of rows with their class mean subtracted: (n, d) -> (d, d), float64."""
    from sklearn.covariance import LedoitWolf

    inverse: np.ndarray = LedoitWolf(assume_centered=True).fit(centered).precision_
    return inverse


def nearest(features: np.ndarray, means: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return the squared Mahalanobis distance to the nearest mean: (n, d), (classes, d), (d, d) -> (n,)."""
    distances = [np.einsum("nd,nd->n", (features - mean) @ inverse, features - mean) for mean in means]
    result: np.ndarray = np.min(distances, axis=0)
    return result
