"""Results per text: numbers in the order of the texts, and a reason where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from poisonsieve.verdict import Failure

#: Which of a text's own tokens represents the text.
Pooling = Literal["first", "mean", "last"]
#: The reason for a text without tokens, which is due to the text and not to the model.
NO_TOKENS = Failure("no_tokens", "no tokens in the text")


@dataclass(frozen=True)
class PerText:
    """Numbers computed for n texts.

    Attributes:
        values: float, shape (n, ...); all NaN where a text could not be scored.
        truncated: bool, shape (n,): whether the text was longer than the limit and was cut.
        errors: length n: why a text could not be scored, or None.
    """

    values: np.ndarray
    truncated: np.ndarray
    errors: list[str | None]


@dataclass(frozen=True)
class Logits(PerText):
    """A classifier's logits of n texts for K classes: `values` is float64 of shape (n, K)."""

    @property
    def predictions(self) -> np.ndarray:
        """The most likely class of each text, int, shape (n,); -1 where it could not be scored."""
        scored = np.isfinite(self.values).all(axis=1)
        return np.where(scored, np.nan_to_num(self.values).argmax(axis=1), -1)

    @property
    def probabilities(self) -> np.ndarray:
        """Class probabilities, float64, shape (n, K); in float32 the highest confidences would tie at 1."""
        result: np.ndarray = softmax(self.values, axis=1)
        return result


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Reduce states, (batch, width, hidden), to one vector per row, (batch, hidden); see `pool_layers`."""
    return pool_layers([states], mask, pooling)[:, 0]


def pool_layers(layers: Sequence[Tensor], mask: Tensor, pooling: Pooling) -> Tensor:
    """Reduce each layer's states to one vector per row, using only positions where `mask` is 1.

    Args:
        layers: states, each (batch, width, hidden).
        mask: (batch, width), 1 where there is text, on either side of the padding.
        pooling: see `BatchScorer.logits_and_states`.

    Returns:
        Shape (batch, layers, hidden).
    """
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(layers[0].dtype)
        return torch.stack([(states * weights).sum(dim=1) / weights.sum(dim=1) for states in layers], dim=1)
    # Found once for all layers: looked for in each, it takes a hundredth of a MiniLM's pass over a single text.
    place = mask.argmax(dim=1) if pooling == "first" else mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
    rows = torch.arange(mask.shape[0], device=mask.device)
    return torch.stack([states[rows, place] for states in layers], dim=1)
