"""MSP: the model's own confidence (Hendrycks and Gimpel 2017), as a baseline beside PSIM.

A backdoor makes a model very sure of a triggered text. How much surer than of clean text, without PSIM's training on
random labels, is what this detector shows: it trains nothing.
"""

from __future__ import annotations

from typing import ClassVar

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.network import ModelDetector, confidence
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.registry import register


@register("defense", "msp")
class MSP(ModelDetector):
    """The largest softmax probability of the model as it is; settings as in `NetworkDetector`.

    The rows it is fitted on play no part; only those a guard is calibrated on do.
    """

    name: ClassVar[str] = "msp"
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def _learn(self, rows: CleanRows, progress: bool) -> None:
        del rows, progress

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        return confidence(self._fitted().score(texts, progress=progress))
