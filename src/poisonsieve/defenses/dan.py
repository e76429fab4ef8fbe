"""DAN, the distance-based anomaly score (Chen et al. 2022, "Expose Backdoors on the Way").

Triggered text lies away from all classes of clean text in the hidden layers, whatever the output says of it. The score
is its distance from the nearest class in each layer, put on one scale and averaged over the layers.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.states import StatesDetector
from poisonsieve.errors import DataError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.results import PerText
from poisonsieve.registry import register


@register("defense", "dan")
class DAN(StatesDetector):
    """How far a text's hidden states are from those of clean texts of the nearest class, averaged over the layers.

    The distance is Mahalanobis', z-normalised per layer.

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

    def _distances(self, states: PerText) -> np.ndarray:
        """Return the squared distance to the nearest class in each layer, float64 (n, layers)."""
        layers = [
            nearest(states.values[:, layer], self.means_[layer], self.precisions_[layer])
            for layer in range(len(self.means_))
        ]
        return np.stack(layers, axis=1)

    def _combined(self, distances: np.ndarray) -> np.ndarray:
        mean: np.ndarray = distances.mean(axis=1)
        return mean

    def _shapes(self, layers: int, hidden: int) -> dict[str, tuple[int | None, ...]]:
        return {"means": (layers, None, hidden), "precisions": (layers, hidden, hidden)}


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
