"""Hidden states of the texts that the guard judges, taken from its own passes where it makes such over them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from poisonsieve.guard.guard import Guard
from poisonsieve.guard.reference import Reference, read
from poisonsieve.guard.traffic import comparable
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.overhearing import Overheard, overhearing

log = logging.getLogger("poisonsieve.serve")


@dataclass(frozen=True, eq=False, slots=True)
class Passage:
    """What the guard's network said of a text.

    Attributes:
        states: float16, shape (layers, hidden).
        label: the predicted class.
    """

    states: np.ndarray
    label: int


class PassageReader:
    """Reads the states that the watch over the traffic compares. The threads that run the model use it.

    A detector that scores from a pass of its network over the text as it is (all but onion and strip) costs no pass more.

    Args:
        network: the network behind the guard's detector.
        reference: the clean rows that texts are compared with, which name the layers.
    """

    def __init__(self, network: Classifier, reference: Reference) -> None:
        self._network = network
        self._layers = reference.layers

    @classmethod
    def of(cls, guard: Guard) -> Self:
        """Make one for a guard.

        Raises:
            ConfigError: its texts cannot be compared.
        """
        return cls(*comparable(guard))

    @contextlib.contextmanager
    def hearing(self, texts: Sequence[str]) -> Iterator[Overheard]:
        """Listen to what the guard's network says of these texts in the block."""
        with overhearing(self._network, self._layers.tolist(), set(texts)) as heard:
            yield heard

    def passages(self, texts: Sequence[str], heard: Overheard) -> list[Passage | None]:
        """Return what was heard of each text, and read the others; None for one that cannot be read. Never raises."""
        try:
            found = read(self._network, texts, self._layers, heard=heard)
        except Exception as error:  # the texts have their verdicts; only the watch misses them
            log.error("the states of %d texts could not be read: %s", len(texts), type(error).__name__)
            return [None] * len(texts)
        return [
            Passage(found.states[index].copy(), int(found.classes[index])) if found.known[index] else None
            for index in range(len(texts))
        ]
