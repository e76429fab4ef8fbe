"""PSIM scored by distance: how far what the unlearned copy says of a text, and how it gets there, is from clean text.

The largest probability carries each class's own clean level and whatever scale the unlearning happened to leave. And a
trigger that was trained to be unsure, or lies in one row of the embedding, leaves no confidence to see, although its path
through the copy is plain. Two distances of the same forward pass see more: that of the centred logits, and that of the
hidden states in the layer where it is largest. The rarer of the two decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.mahalanobis import cube_roots, whitener
from poisonsieve.defenses.psim import PSIM
from poisonsieve.defenses.rarity import FEWEST_ROWS, Rarity
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.tensors import read_tensors, write_tensors
from poisonsieve.errors import CheckpointError
from poisonsieve.models.results import Logits, PerText
from poisonsieve.models.scoring import BatchScorer
from poisonsieve.registry import register

TENSORS_FILE = "distances.safetensors"
#: What was learned beside the trained network, each an array of `_learned`.
_LEARNED = ("logit_mean", "logit_whitener", "means", "whiteners", "center", "scale", "logit_scores", "state_scores")


@register("defense", "psim-distance")
class PSIMDistance(PSIM):
    """PSIM's copy, judged by how far its logits and hidden states are from those of clean texts.

    The logits are centred over the classes and are one Gaussian; so is each layer's state, whose distances are
    z-normalised and the largest taken, as `poisonsieve.defenses.mahalanobis.Mahalanobis` does. The larger rarity of the
    two is the score. A fifth of the clean rows is held out of the training for scales and rarities; a guard's calibration
    rows replace it for the rarities.

    The guard folder grows with layers x hidden size squared x 4 bytes beside the trained network.

    Args:
        method, learning_rate, epochs, batch_size, virtual_tokens, encoder_hidden, precision: see `PSIM`.
        model, max_length, base, allow_pickle, seed: see `PSIM`.

    Attributes:
        logit_mean_: float64, shape (classes,), of centred logits.
        logit_whitener_: float32, shape (classes, classes).
        means_, whiteners_, center_, scale_: see `poisonsieve.defenses.mahalanobis.Mahalanobis`.
        logit_scores_, state_scores_: distances of the reference rows, float64; see `Rarity`.
        classifier_, training_, spec_: see `PSIM`.
    """

    name: ClassVar[str] = "psim-distance"
    score_range: ClassVar[tuple[float, float]] = (0.0, np.inf)
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    logit_mean_: np.ndarray = field(init=False)
    logit_whitener_: np.ndarray = field(init=False)
    means_: np.ndarray = field(init=False)
    whiteners_: np.ndarray = field(init=False)
    center_: np.ndarray = field(init=False)
    scale_: np.ndarray = field(init=False)
    logit_scores_: np.ndarray = field(init=False)
    state_scores_: np.ndarray = field(init=False)

    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        trained_on, held_out = rows.hold_out(self.seed)
        super()._fit(trained_on, workdir=workdir, progress=progress)
        self._learn_states(trained_on.texts, "reading clean rows" if progress else None)
        self._learn_scales(held_out, "reading held-out rows" if progress else None)

    def _learn_states(self, texts: list[str], progress: str | None) -> None:
        _, found = self._read(texts, progress)
        states = found.values[np.isfinite(found.values).all(axis=(1, 2))].astype(np.float64)
        if len(states) < FEWEST_ROWS:
            raise CheckpointError(
                f"the unlearned copy can read {len(states)} of {len(texts)} clean rows; give more rows"
            )
        self.means_ = states.mean(axis=0).astype(np.float32)
        self.whiteners_ = np.stack([whitener(layer - layer.mean(axis=0)) for layer in states.swapaxes(0, 1)])

    def _learn_scales(self, held_out: list[str], progress: str | None) -> None:
        logits, states = self._read(held_out, progress)
        centred = _centred(logits.values)
        known = centred[np.isfinite(centred).all(axis=1)]
        if len(known) < FEWEST_ROWS or not np.ptp(known, axis=0).max() > 0:
            raise CheckpointError(
                f"the unlearned copy answers {len(known)} of {len(held_out)} held-out rows, and too much alike to tell "
                "texts apart; give more rows, or train it less (--lr, --epochs)"
            )
        self.logit_mean_ = known.mean(axis=0)
        self.logit_whitener_ = whitener(known - self.logit_mean_)
        roots = cube_roots(states.values, self.means_, self.whiteners_)
        roots = roots[np.isfinite(roots).all(axis=1)]
        self.center_, self.scale_ = roots.mean(axis=0), roots.std(axis=0, ddof=1)
        if not (self.scale_ > 0).all():
            raise CheckpointError(
                f"layer {1 + int(np.argmin(self.scale_))} of the copy gives every text the same state"
            )
        self._refer_to(*self._distances(logits, states))

    def _refer_to(self, of_logits: np.ndarray, of_states: np.ndarray) -> None:
        self.logit_scores_, self.state_scores_ = of_logits, of_states
        self._rarities = Rarity.of(of_logits, self.name), Rarity.of(of_states, self.name)

    def score_calibration(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Score a guard's calibration rows, which become the reference if at least 20 of them have a score."""
        logits, states = self._read(texts, progress)
        distances = self._distances(logits, states)
        if min(np.isfinite(found).sum() for found in distances) < FEWEST_ROWS:
            return self._rated(logits, distances)
        self._refer_to(*distances)
        own = [rarity.of_its_own(found) for rarity, found in zip(self._rarities, distances, strict=True)]
        return Scored(np.max(own, axis=0), logits.truncated, logits.errors)

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        logits, states = self._read(texts, progress)
        return self._rated(logits, self._distances(logits, states))

    def _rated(self, logits: Logits, distances: tuple[np.ndarray, np.ndarray]) -> Scored:
        """Score texts by the larger rarity of their two distances."""
        rarities = [rarity(found) for rarity, found in zip(self._rarities, distances, strict=True)]
        return Scored(np.max(rarities, axis=0), logits.truncated, logits.errors)

    def _read(self, texts: Sequence[str], progress: str | None) -> tuple[Logits, PerText]:
        return BatchScorer(self._fitted(), progress=progress).logits_and_states(texts)

    def _distances(self, logits: Logits, states: PerText) -> tuple[np.ndarray, np.ndarray]:
        """Return the squared distance of the logits, and the largest of the states: float64, shape (n,) each."""
        away = (_centred(logits.values) - self.logit_mean_) @ self.logit_whitener_
        roots = cube_roots(states.values, self.means_, self.whiteners_)
        return np.square(away).sum(axis=1), ((roots - self.center_) / self.scale_).max(axis=1)

    def save(self, folder: Path) -> dict[str, Any]:
        """The trained network, and the distances learned from it; see the base class."""
        state = super().save(folder)
        write_tensors(folder / TENSORS_FILE, {name: getattr(self, f"{name}_") for name in _LEARNED})
        return state

    @classmethod
    def open(cls, folder: Path, state: dict[str, Any], *, base: str | Path | None, allow_pickle: bool) -> Self:
        """The trained network on the base that it was trained on, and the distances; see the base class."""
        opened = super().open(folder, state, base=base, allow_pickle=allow_pickle)
        classes = len(opened.label_names)
        layers, hidden = opened._fitted().states_shape
        shapes: tuple[tuple[int | None, ...], ...] = (
            *((classes,), (classes, classes)),
            *((layers, hidden), (layers, hidden, hidden), (layers,), (layers,), (None,), (None,)),
        )
        tensors = read_tensors(folder / TENSORS_FILE, dict(zip(_LEARNED, shapes, strict=True)))
        for name in _LEARNED:
            setattr(opened, f"{name}_", tensors[name])
        opened._refer_to(opened.logit_scores_, opened.state_scores_)
        return opened


def _centred(logits: np.ndarray) -> np.ndarray:
    """Subtract each text's mean: (n, classes) -> (n, classes). A softmax does not see it."""
    centred: np.ndarray = logits - logits.mean(axis=1, keepdims=True)
    return centred
