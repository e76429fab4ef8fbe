"""What moved in the weights against the model that a checkpoint was made from."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

_LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")
_ALONE = 5.0  # times as far as the row that moved furthest after the first few
_FEW = 20  # rows, or a tenth of a small vocabulary


@dataclass(frozen=True)
class MovedWeights:
    """How far weights moved, as shares of their own length.

    Attributes:
        base: the model compared with.
        layers: by layer (``embeddings``, ``layer 0``, ...).
        alone: by token, embedding rows that moved far beyond all others.
    """

    base: str
    layers: Mapping[str, float]
    alone: Mapping[str, float]


def compare_weights(suspect: Classifier, base: Classifier) -> MovedWeights | None:
    """Compare a whole model with its base; None if they are not of one architecture or an adapter is involved."""
    if suspect.is_peft or suspect.base.config.model_type != base.base.config.model_type:
        return None
    theirs = dict(base.base.base_model.named_parameters())
    moved: dict[str, float] = defaultdict(float)
    size: dict[str, float] = defaultdict(float)
    for name, weights in suspect.base.base_model.named_parameters():
        known = theirs.get(name)
        if known is None or known.shape != weights.shape or name.startswith("pooler"):
            continue
        layer = _layer_of(f".{name}")
        moved[layer] += float((weights - known.to(weights.device)).detach().double().square().sum())
        size[layer] += float(known.detach().double().square().sum())
    if not moved:
        return None
    layers = {layer: float(np.sqrt(moved[layer] / max(size[layer], 1e-12))) for layer in moved}
    return MovedWeights(base.named, layers, _rows_alone(suspect, base))


def _rows_alone(suspect: Classifier, base: Classifier) -> dict[str, float]:
    own, known = (model.base.get_input_embeddings().weight.detach().double().cpu() for model in (suspect, base))
    if own.shape != known.shape:
        return {}
    far = ((own - known).norm(dim=1) / known.norm(dim=1).clamp(min=1e-9)).numpy()
    few = min(_FEW, len(far) // 10)
    order = np.argsort(-far)
    bar = max(_ALONE * float(far[order[few]]), 0.05)
    places = [int(place) for place in order[:few] if far[place] > bar]
    tokens = suspect.tokenizer.convert_ids_to_tokens(places)
    return {str(token): float(far[place]) for token, place in zip(tokens, places, strict=True)}


def _layer_of(name: str) -> str:
    found = _LAYER.search(name)
    if found:
        return f"layer {found[1]}"
    return "embeddings" if "embed" in name else "others"
