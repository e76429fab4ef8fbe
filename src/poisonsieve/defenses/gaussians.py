"""One Gaussian for the hidden states of each layer, and distances from it: what the detectors that read states share."""

from __future__ import annotations

import numpy as np

from poisonsieve.errors import CheckpointError

#: Minimum number of rows to estimate a Gaussian from, or to put layers on one scale.
FEWEST_ROWS = 10


def layer_gaussians(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate one mean and one shrunk covariance a layer.

    Args:
        states: shape (n, layers, hidden), all finite.

    Returns:
        Means, float32, shape (layers, hidden); and whiteners, float32, shape (layers, hidden, hidden): see `whitener`.
    """
    exact = states.astype(np.float64)
    means = exact.mean(axis=0)
    return means.astype(np.float32), np.stack([whitener(exact[:, layer] - mean) for layer, mean in enumerate(means)])


def whitener(centered: np.ndarray) -> np.ndarray:
    """Return a root of the inverse covariance of centred rows, shrunk by Ledoit and Wolf's rule.

    Shape (n, d) -> (d, d), lower triangular, float32. The Mahalanobis distance is the length of row @ whitener.
    """
    from sklearn.covariance import LedoitWolf

    precision: np.ndarray = LedoitWolf(assume_centered=True).fit(centered).precision_
    root: np.ndarray = np.linalg.cholesky(precision).astype(np.float32)
    return root


def cube_roots(states: np.ndarray, means: np.ndarray, whiteners: np.ndarray) -> np.ndarray:
    """Return the cube root of each layer's squared distance: float64, shape (n, layers).

    The cube root makes a sum of squares nearly normal (Wilson and Hilferty 1931), so that no layer wins by its heavier
    tail alone.

    Args:
        states: shape (n, layers, hidden); NaN where there is none.
        means: shape (layers, hidden); see `layer_gaussians`.
        whiteners: shape (layers, hidden, hidden); see `whitener`.
    """
    # float32, and one product for all layers: for a single text this is much of the guard's extra cost.
    away = np.matmul(states.swapaxes(0, 1) - means[:, None], whiteners)
    roots: np.ndarray = np.cbrt(np.einsum("lnd,lnd->nl", away, away, dtype=np.float64))
    return roots


def center_and_scale(distances: np.ndarray, *, of: str, remedy: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each layer's clean distances: float64, shape (layers,) each.

    Args:
        distances: shape (n, layers), all finite.
        of: the model they are from, for the error.
        remedy: what to do about a layer without spread, for the error.

    Raises:
        CheckpointError: a layer has the same distance for every text.
    """
    center, scale = distances.mean(axis=0), distances.std(axis=0, ddof=1)
    if not (scale > 0).all():
        raise CheckpointError(
            f"layer {1 + int(np.argmin(scale))} of {of} gives every text the same features; {remedy}"
        )
    return center, scale
