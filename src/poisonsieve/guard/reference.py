"""What a guard keeps of its calibration rows to compare traffic with: hidden states and predicted classes, no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from poisonsieve.defenses.tensors import read_tensors, write_tensors
from poisonsieve.errors import UnsupportedError

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier
    from poisonsieve.models.overhearing import Overheard

FILE = "traffic.safetensors"
#: Layers kept of a deeper network, evenly spread up to the last: a guard folder should stay small.
MOST_LAYERS = 8
#: Calibration rows kept, the first ones.
MOST_ROWS = 2000


@dataclass(frozen=True, eq=False)
class Reading:
    """What a network says of n texts on the way to its answer.

    Attributes:
        states: float16, shape (n, layers, hidden): the vector that stands for the text in each layer.
        classes: int64, shape (n,): the predicted class.
        known: bool, shape (n,): whether the text could be read; the others' rows mean nothing.
    """

    states: np.ndarray
    classes: np.ndarray
    known: np.ndarray


@dataclass(frozen=True, eq=False)
class Reference:
    """States and classes of clean rows, from the network behind a guard's detector.

    Attributes:
        states: float16, shape (m, layers, hidden).
        classes: int64, shape (m,).
        layers: int64, shape (layers,): numbers of the layers, from 0.
    """

    states: np.ndarray
    classes: np.ndarray
    layers: np.ndarray

    @classmethod
    def of(cls, network: Classifier | None, texts: Sequence[str], *, progress: str | None = None) -> Self | None:
        """Read clean rows; None if there is no network, or none that returns its layers' states."""
        if network is None:
            return None
        try:
            depth, _ = network.states_shape
        except UnsupportedError:
            return None
        layers = cls.layers_of(depth)
        found = read(network, texts[:MOST_ROWS], layers, progress=progress)
        return cls(found.states[found.known], found.classes[found.known], layers)

    @staticmethod
    def layers_of(depth: int) -> np.ndarray:
        """Return the numbers of the layers that are kept of so many, int64."""
        kept = min(depth, MOST_LAYERS)
        layers: np.ndarray = np.linspace(depth / kept, depth, kept).round().astype(np.int64) - 1
        return layers

    def write(self, folder: Path) -> None:
        """Write it into a guard folder."""
        tensors = {"states": self.states, "classes": self.classes, "layers": self.layers}
        write_tensors(folder / FILE, tensors)

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """Read what `write` wrote; None if the guard was fitted before there was any.

        Raises:
            CheckpointError: the file is damaged.
        """
        if not (folder / FILE).is_file():
            return None
        return cls(
            **read_tensors(folder / FILE, {"states": (None, None, None), "classes": (None,), "layers": (None,)})
        )


def read(
    network: Classifier,
    texts: Sequence[str],
    layers: np.ndarray,
    *,
    heard: Overheard | None = None,
    progress: str | None = None,
) -> Reading:
    """Read texts with a network, in one pass over each; half precision, in which they are kept.

    Args:
        network: a network that returns its layers' states.
        texts: n texts.
        layers: numbers of the layers, from 0.
        heard: what this network was overheard to say, of these layers; texts in it cost no pass.
        progress: description of a progress bar on stderr; None for none.
    """
    from poisonsieve.models.overhearing import overhearing
    from poisonsieve.models.scoring import BatchScorer

    said = {} if heard is None else heard.said
    new = list(dict.fromkeys(text for text in texts if text not in said))
    if new:
        with overhearing(network, layers.tolist(), set(new)) as now:
            BatchScorer(network, progress=progress).logits_and_states(new, layers=layers.tolist())
        said = {**said, **now.said}
    logits = np.array([said[text][0] for text in texts], dtype=np.float64).reshape(
        len(texts), len(network.label_names)
    )
    shape = (len(texts), len(layers), network.states_shape[1])
    states = np.array([said[text][1] for text in texts], dtype=np.float16).reshape(shape)
    known = np.logical_and(np.isfinite(states).all(axis=(1, 2)), np.isfinite(logits).all(axis=1))
    states[~known] = 0.0
    classes = np.where(known[:, None], logits, 0.0).argmax(axis=1)
    return Reading(states, classes.astype(np.int64), known)
