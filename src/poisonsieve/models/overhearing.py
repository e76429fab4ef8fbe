"""Hear what a network says of texts while something else asks it: hidden states that cost no pass of their own.

A detector's score, and the answer of a victim, are computed from passes over the very texts that somebody else may want to
know the states of. Within `overhearing`, a pass of the network over texts as they are leaves its logits and states here
too. What is asked of the network, and what it answers, stays the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from poisonsieve.models.results import Logits, PerText, Pooling

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier


_HALF = float(np.finfo(np.float16).max)


def half(states: np.ndarray) -> np.ndarray:
    """Return states in half precision, in which they are kept; NaN stays NaN."""
    kept: np.ndarray = np.clip(states, -_HALF, _HALF).astype(np.float16)
    return kept


@dataclass(eq=False)
class Overheard:
    """What a network said of texts, in the block of `overhearing` that made this.

    Attributes:
        network: the network that is listened to.
        layers: numbers of the layers whose states are kept, from 0.
        texts: the texts of interest; a detector may also ask about changed ones.
        said: by text: logits, shape (K,), and float16 states, shape (layers, hidden); NaN where it could not be read.
    """

    network: Classifier
    layers: Sequence[int]
    texts: Set[str]
    said: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def take(self, texts: Sequence[str], logits: Logits, states: PerText, layers: Sequence[int]) -> None:
        """Keep the first that is said of each text of interest; `layers` are those of `states`."""
        if not set(self.layers) <= set(layers):
            return
        places = [list(layers).index(layer) for layer in self.layers]
        for index, text in enumerate(texts):
            if text in self.texts and text not in self.said:
                self.said[text] = (logits.values[index].copy(), half(states.values[index, places]))


_listener: ContextVar[Overheard | None] = ContextVar("poisonsieve_overhearing", default=None)


@contextlib.contextmanager
def overhearing(network: Classifier, layers: Sequence[int], texts: Set[str]) -> Iterator[Overheard]:
    """Listen to a network in this thread: what it says of the texts in the block is also in the `Overheard` that it gets.

    Args:
        network: a network that returns its layers' states.
        layers: layer numbers, from 0. States are of the token that the head reads.
        texts: the texts of interest.
    """
    heard = Overheard(network, layers, texts)
    token = _listener.set(heard)
    try:
        yield heard
    finally:
        _listener.reset(token)


def listener(
    network: Classifier, limit: int, texts: Sequence[str], pooling: Pooling | None = None
) -> Overheard | None:
    """Return who listens to this network, if a pass over such texts, pooled like this, is of interest."""
    heard = _listener.get()
    if heard is None or heard.network is not network or limit != network.max_length:
        return None
    alike = pooling in (None, network.pooling) and not heard.texts.isdisjoint(texts)
    return heard if alike else None
