"""Detectors that score in the same pass that classifies the text, so that guard and victim can be one network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from poisonsieve.defenses.detector import Scored, checked
from poisonsieve.defenses.network import ModelDetector
from poisonsieve.models.results import Logits, PerText, Pooling
from poisonsieve.models.scoring import BatchScorer
from poisonsieve.texts import as_texts


class ReadsAnswer(ABC):
    """What detectors have in common that can take score and answer from the same pass of the guarded model."""

    @abstractmethod
    def read(self, texts: Sequence[str], *, progress: str | None = None) -> tuple[Scored, Logits]:
        """Return scores and the guarded model's logits of the same texts."""


class OnePassDetector(ModelDetector, ReadsAnswer):
    """Base of detectors that need one forward pass per text, and no input other than the text itself.

    A subclass implements `_judge`. Where the guarded classifier is the very model the detector was fitted on, `read`
    gives the verdict and the answer for the price of the answer.
    """

    #: Whether the score uses the layers' hidden states, not only the logits.
    reads_states: ClassVar[bool] = False

    def read(self, texts: Sequence[str], *, progress: str | None = None) -> tuple[Scored, Logits]:
        """Return scores and logits of the same texts, from one pass over each."""
        texts = as_texts(texts)
        logits, states = self._pass(texts, progress)
        read = logits if states is None else states
        scored = Scored(self._judge(logits, states), read.truncated, read.errors)
        return checked(scored, len(texts), self.name), logits

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        return self.read(texts, progress=progress)[0]

    def _pass(self, texts: Sequence[str], progress: str | None) -> tuple[Logits, PerText | None]:
        scorer = BatchScorer(self._fitted(), progress=progress)
        if self.reads_states:
            return scorer.logits_and_states(texts, pooling=self._pooled_by())
        return scorer.logits(texts), None

    def _pooled_by(self) -> Pooling | None:
        """Return which token represents a text; None for the one that the head reads."""
        return None

    @abstractmethod
    def _judge(self, logits: Logits, states: PerText | None) -> np.ndarray:
        """Scores, float64, shape (n,), NaN where there is none; `states` where `reads_states`."""
