"""What is computed of each text: numbers in the order of the texts, and a reason where there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from poisonsieve.verdict import Failure

#: Which of a text's own tokens stands for the text.
Pooling = Literal["first", "mean", "last"]
#: The reason of a text that a tokenizer makes nothing of: it is the text's doing, not the model's.
NO_TOKENS = Failure("no_tokens", "no tokens in the text")


@dataclass(frozen=True)
class PerText:
    """Numbers that were computed of n texts.

    Attributes:
        values: float, shape (n, ...); NaN throughout where a text could not be read.
        truncated: bool, shape (n,): the text was longer than the limit and lost its end.
        errors: why a text could not be read, or None; length n.
    """

    values: np.ndarray
    truncated: np.ndarray
    errors: list[str | None]


@dataclass(frozen=True)
class Logits(PerText):
    """What a classifier said of n texts with K classes: `values` is float64 of shape (n, K)."""

    @property
    def predictions(self) -> np.ndarray:
        """The likeliest class of each text, int, shape (n,); -1 where it could not be scored."""
        scored = np.isfinite(self.values).all(axis=1)
        return np.where(scored, np.nan_to_num(self.values).argmax(axis=1), -1)

    @property
    def probabilities(self) -> np.ndarray:
        """Of each class, float64, shape (n, K): in float32 the confidences of sure rows would tie at 1."""
        result: np.ndarray = softmax(self.values, axis=1)
        return result


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector a row, of shape (batch, hidden), from those positions alone where `mask` is 1.

    Args:
        states: (batch, width, hidden).
        mask: (batch, width), 1 where there is text, on either side of the padding.
        pooling: see `BatchScorer.logits_and_states`.
    """
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)
    place = mask.argmax(dim=1) if pooling == "first" else mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), place]
