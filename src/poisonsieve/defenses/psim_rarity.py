"""PSIM's copy judged by the rarest of three things: how sure it is, what it says, and how it gets there.

The paper looks at the largest probability alone. That carries each class's own clean level and whatever scale the
unlearning happened to leave; and a trigger that was trained to be unsure, or that lies in one row of the embedding, leaves
no confidence to see, although its path through the copy is plain. Another trigger's path ends amid clean text's, and only
its confidence shows. All three are read from one forward pass, and the one that is rarest among clean text decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import logsumexp

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.gaussians import center_and_scale, cube_roots, layer_gaussians, whitener
from poisonsieve.defenses.psim import PSIM
from poisonsieve.defenses.rarity import FEWEST_ROWS, Rarity
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.tensors import read_tensors, write_tensors
from poisonsieve.errors import CheckpointError
from poisonsieve.models.results import Logits, PerText
from poisonsieve.models.scoring import BatchScorer
from poisonsieve.registry import register

TENSORS_FILE = "rarities.safetensors"
#: The three scores of a text, by what they are computed from.
CONFIDENCE, LOGITS, STATES = "confidence", "logits", "states"
_SCORES = (CONFIDENCE, LOGITS, STATES)
#: What was learned beside the trained network, each an array.
_LEARNED = ("logit_mean_", "logit_whitener_", "means_", "whiteners_", "center_", "scale_")


@register("defense", "psim-rarity")
class PSIMRarity(PSIM):
    """PSIM's copy, judged by its confidence, its logits or its hidden states, whichever is rarest among clean texts.

    Three scores come from one forward pass:

    - ``confidence``: the log-odds of the most likely class, which orders texts as the paper's score does;
    - ``logits``: the squared Mahalanobis distance of the logits, centred over the classes, from clean text's;
    - ``states``: the largest z-normalised distance of a layer, as in `poisonsieve.defenses.mahalanobis.Mahalanobis`.

    Each is converted to its rarity, and the largest rarity is the score. A fifth of the clean rows is held out of the
    training for scales and rarities; a guard's calibration rows replace it for the rarities.

    The guard folder grows with layers x hidden size squared x 4 bytes beside the trained network.

    Args:
        method, learning_rate, epochs, batch_size, virtual_tokens, encoder_hidden, precision: see `PSIM`.
        model, max_length, base, allow_pickle, seed: see `PSIM`.

    Attributes:
        logit_mean_: float64, shape (classes,), of centred logits.
        logit_whitener_: float32, shape (classes, classes).
        means_, whiteners_, center_, scale_: see `poisonsieve.defenses.mahalanobis.Mahalanobis`.
        rarities_: `Rarity` of each of the three scores, by name.
        classifier_, training_, spec_: see `PSIM`.
    """

    name: ClassVar[str] = "psim-rarity"
    score_range: ClassVar[tuple[float, float]] = (0.0, np.inf)
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    logit_mean_: np.ndarray = field(init=False)
    logit_whitener_: np.ndarray = field(init=False)
    means_: np.ndarray = field(init=False)
    whiteners_: np.ndarray = field(init=False)
    center_: np.ndarray = field(init=False)
    scale_: np.ndarray = field(init=False)
    rarities_: dict[str, Rarity] = field(init=False)

    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        trained_on, held_out = rows.hold_out(self.seed)
        super()._fit(trained_on, workdir=workdir, progress=progress)
        self._learn_states(trained_on.texts, "reading clean rows" if progress else None)
        self._learn_scales(held_out, "reading held-out rows" if progress else None)

    def _learn_states(self, texts: list[str], progress: str | None) -> None:
        _, found = self._read(texts, progress)
        states = found.values[np.isfinite(found.values).all(axis=(1, 2))]
        if len(states) < FEWEST_ROWS:
            raise CheckpointError(
                f"the unlearned copy can read {len(states)} of {len(texts)} clean rows; give more rows"
            )
        self.means_, self.whiteners_ = layer_gaussians(states)

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
        self.center_, self.scale_ = center_and_scale(
            roots[np.isfinite(roots).all(axis=1)],
            of="the unlearned copy",
            remedy="train it less (--lr, --epochs), or try another tuning (--method)",
        )
        self._refer_to(self._scores(logits, states))

    def _refer_to(self, scores: dict[str, np.ndarray]) -> None:
        self.rarities_ = {name: Rarity.of(found, self.name) for name, found in scores.items()}

    def score_calibration(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Score a guard's calibration rows, which become the reference if at least 20 of them have a score."""
        logits, states = self._read(texts, progress)
        scores = self._scores(logits, states)
        if min(np.isfinite(found).sum() for found in scores.values()) < FEWEST_ROWS:
            return self._rated(logits, scores)
        self._refer_to(scores)
        own = [self.rarities_[name].of_its_own(found) for name, found in scores.items()]
        return Scored(np.max(own, axis=0), logits.truncated, logits.errors)

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        logits, states = self._read(texts, progress)
        return self._rated(logits, self._scores(logits, states))

    def _rated(self, logits: Logits, scores: dict[str, np.ndarray]) -> Scored:
        """Score texts by the largest rarity of their three scores."""
        rarities = [self.rarities_[name](found) for name, found in scores.items()]
        return Scored(np.max(rarities, axis=0), logits.truncated, logits.errors)

    def _read(self, texts: Sequence[str], progress: str | None) -> tuple[Logits, PerText]:
        return BatchScorer(self._fitted(), progress=progress).logits_and_states(texts)

    def _scores(self, logits: Logits, states: PerText) -> dict[str, np.ndarray]:
        """Return the three scores by name, float64, shape (n,) each; NaN where the copy has no answer."""
        away = (_centred(logits.values) - self.logit_mean_) @ self.logit_whitener_
        roots = cube_roots(states.values, self.means_, self.whiteners_)
        return {
            CONFIDENCE: _log_odds(logits.values),
            LOGITS: np.square(away).sum(axis=1),
            STATES: ((roots - self.center_) / self.scale_).max(axis=1),
        }

    def save(self, folder: Path) -> dict[str, Any]:
        """The trained network, and what was learned from its passes; see the base class."""
        state = super().save(folder)
        learned = {name.rstrip("_"): getattr(self, name) for name in _LEARNED}
        references = {f"{name}_reference": self.rarities_[name].reference for name in _SCORES}
        write_tensors(folder / TENSORS_FILE, learned | references)
        return state

    @classmethod
    def open(cls, folder: Path, state: dict[str, Any], *, base: str | Path | None, allow_pickle: bool) -> Self:
        """The trained network on the base that it was trained on, and what was learned from it; see the base class."""
        opened = super().open(folder, state, base=base, allow_pickle=allow_pickle)
        classes = len(opened.label_names)
        layers, hidden = opened._fitted().states_shape
        shapes: dict[str, tuple[int | None, ...]] = {
            **{"logit_mean": (classes,), "logit_whitener": (classes, classes)},
            **{
                "means": (layers, hidden),
                "whiteners": (layers, hidden, hidden),
                "center": (layers,),
                "scale": (layers,),
            },
            **{f"{name}_reference": (None,) for name in _SCORES},
        }
        tensors = read_tensors(folder / TENSORS_FILE, shapes)
        for name in _LEARNED:
            setattr(opened, name, tensors[name.rstrip("_")])
        opened._refer_to({name: tensors[f"{name}_reference"] for name in _SCORES})
        return opened


def _centred(logits: np.ndarray) -> np.ndarray:
    """Subtract each text's mean: (n, classes) -> (n, classes). A softmax does not see it."""
    centred: np.ndarray = logits - logits.mean(axis=1, keepdims=True)
    return centred


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of each text's largest softmax probability p: (n, classes) -> (n,). It does not saturate."""
    rising = np.sort(logits, axis=1)  # a NaN makes its row's last value NaN
    odds: np.ndarray = rising[:, -1] - logsumexp(rising[:, :-1], axis=1)
    return odds
