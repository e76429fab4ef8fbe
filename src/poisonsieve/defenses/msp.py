"""MSP: the model's own confidence (Hendrycks and Gimpel 2017), as a baseline beside PSIM.

A backdoor makes a model very sure of a triggered text. This detector trains nothing: it shows how far that alone sets
triggered text apart, without PSIM's training on random labels.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from poisonsieve.defenses.network import confidence
from poisonsieve.defenses.one_pass import OnePassDetector
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.models.results import Logits, PerText
from poisonsieve.registry import register


@register("defense", "msp")
class MSP(OnePassDetector):
    """How sure the model itself is: its largest softmax probability, with nothing trained.

    Settings as in `NetworkDetector`.

    The rows it is fitted on are ignored; only the guard's calibration rows matter.
    """

    name: ClassVar[str] = "msp"
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def _learn(self, rows: CleanRows, progress: bool) -> None:
        del rows, progress

    def _judge(self, logits: Logits, states: PerText | None) -> np.ndarray:
        del states
        return confidence(logits).scores
