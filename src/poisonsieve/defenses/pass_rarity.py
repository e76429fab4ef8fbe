"""How rare one pass of a network over a text is among its passes over clean texts.

Two things are seen in a pass: how sure its answer is, and the path to it, the state that the head reads layer by layer.
A trigger shows in one or in the other, and seldom plainly in each alone: one that the model was trained to be unsure of
leaves no confidence to see, and the path of another ends amid clean text's. Each is converted to its rarity among clean
text, and the sum of the rarities is the score: Fisher's way to combine p-values (Fisher 1932). The larger of the two
instead would let the heavier tail set the threshold for both, and two that are each nearly rare enough would not add up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from poisonsieve.defenses import gaussians, rarity
from poisonsieve.defenses.gaussians import center_and_scale, cube_roots, layer_gaussians
from poisonsieve.defenses.rarity import Rarity
from poisonsieve.defenses.tensors import read_tensors, write_tensors
from poisonsieve.errors import CheckpointError, DataError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.results import Logits, PerText

TENSORS_FILE = "rarities.safetensors"
CONFIDENCE, STATES = "confidence", "states"
_LEARNED = ("means", "whiteners", "center", "scale")


@dataclass
class PassRarity:
    """Scores passes by how rare they are. Learn with `learn`, or restore with `open`.

    Attributes:
        means, whiteners, center, scale: one Gaussian a layer; see `poisonsieve.defenses.mahalanobis.Mahalanobis`.
        rarities: `Rarity` of the ``confidence`` and of the ``states``.
    """

    means: np.ndarray
    whiteners: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    rarities: dict[str, Rarity] = field(default_factory=dict)

    @classmethod
    def learn(cls, fitted: PerText, held_out: tuple[Logits, PerText], *, of: str, remedy: str) -> Self:
        """Learn Gaussians from the states of clean texts; scales and rarities from passes over other clean texts.

        Texts without finite states are left out.

        Args:
            fitted: states, shape (n, layers, hidden).
            held_out: logits and states, of m other texts.
            of: whose passes they are, for errors.
            remedy: what to do if they are too much alike, for errors.

        Raises:
            DataError: fewer than 10 texts of either can be read.
            CheckpointError: all of them are read alike.
        """
        logits, states = held_out
        means, whiteners = layer_gaussians(_readable(fitted.values, of))
        roots = cube_roots(_readable(states.values, of), means, whiteners)
        made = cls(means, whiteners, *center_and_scale(roots, of=of, remedy=remedy))
        odds = _log_odds(logits.values)
        if not np.ptp(odds[np.isfinite(odds)]) > 0:
            raise CheckpointError(f"{of} is equally sure of every clean text; {remedy}")
        made.refer_to(made.scores(logits, states))
        return made

    def scores(self, logits: Logits, states: PerText) -> dict[str, np.ndarray]:
        """Return both scores of each text by name, float64, shape (n,) each; NaN where there is none.

        They are the log-odds of the most likely class, and the largest z-normalised distance of a layer.
        """
        roots = cube_roots(states.values, self.means, self.whiteners)
        return {CONFIDENCE: _log_odds(logits.values), STATES: ((roots - self.center) / self.scale).max(axis=1)}

    def refer_to(self, scores: dict[str, np.ndarray]) -> None:
        """Measure rarity by these scores of clean texts from now on."""
        self.rarities = {name: Rarity(found) for name, found in scores.items()}

    def rate(self, logits: Logits, states: PerText) -> np.ndarray:
        """Return the sum of both rarities of each text, float64, shape (n,), at least 0; NaN where there is none."""
        rarities = [self.rarities[name](found) for name, found in self.scores(logits, states).items()]
        total: np.ndarray = np.sum(rarities, axis=0)
        return total

    def rate_reference(self, logits: Logits, states: PerText) -> np.ndarray:
        """Refer to these clean passes from now on, and rate each as if it was not among them.

        With fewer than 20 that have a score, the reference stays as it was.
        """
        scores = self.scores(logits, states)
        if min(np.isfinite(found).sum() for found in scores.values()) < rarity.FEWEST_ROWS:
            return self.rate(logits, states)
        self.refer_to(scores)
        total: np.ndarray = np.sum([self.rarities[name].of_its_own(found) for name, found in scores.items()], axis=0)
        return total

    def save(self, folder: Path) -> None:
        """Write all that was learned into a guard folder."""
        write_tensors(folder / TENSORS_FILE, self.to_tensors())

    @classmethod
    def open(cls, folder: Path, classifier: Classifier) -> Self:
        """Read what `save` wrote, of passes of this network.

        Raises:
            CheckpointError: the file is damaged, or is of a network of another shape.
        """
        return cls.from_tensors(read_tensors(folder / TENSORS_FILE, _tensor_shapes(classifier)))

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return all that was learned, by name."""
        references = {f"{name}_reference": found.reference for name, found in self.rarities.items()}
        return {name: getattr(self, name) for name in _LEARNED} | references

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> Self:
        """Restore what `to_tensors` gave."""
        means, whiteners, center, scale = (tensors[name] for name in _LEARNED)
        made = cls(means, whiteners, center, scale)
        made.refer_to({name: tensors[f"{name}_reference"] for name in (CONFIDENCE, STATES)})
        return made


def _tensor_shapes(classifier: Classifier) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of `PassRarity.to_tensors` for a network, by name; None for any length."""
    layers, hidden = classifier.states_shape
    return {
        "means": (layers, hidden),
        "whiteners": (layers, hidden, hidden),
        "center": (layers,),
        "scale": (layers,),
        f"{CONFIDENCE}_reference": (None,),
        f"{STATES}_reference": (None,),
    }


def _readable(states: np.ndarray, of: str) -> np.ndarray:
    """Return the finite rows of states, shape (n, layers, hidden)."""
    found: np.ndarray = states[np.isfinite(states).all(axis=(1, 2))]
    needed = gaussians.FEWEST_ROWS
    if len(found) < needed:
        raise DataError(
            f"{of} can read {len(found)} of {len(states)} clean rows, without repeats, and needs {needed} to learn "
            "from, and as many in the fifth that is held out; give more rows, or take one that holds none out, such as psim"
        )
    return found


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of each text's largest softmax probability p: (n, classes) -> (n,). It does not saturate."""
    rising = np.sort(logits, axis=1)  # a NaN makes its row's last value NaN
    # Not scipy's logsumexp, which takes a fiftieth of a MiniLM's pass over a single text.
    odds: np.ndarray = rising[:, -1] - np.logaddexp.reduce(rising[:, :-1], axis=1)
    return odds
