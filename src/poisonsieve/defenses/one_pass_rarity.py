"""How rare the model's own pass over a text is: nothing is trained, and the pass that classifies the text is enough.

On a victim, the score costs no pass of its own: it reads the one that gives the answer. See
`poisonsieve.defenses.pass_rarity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.one_pass import OnePassDetector
from poisonsieve.defenses.pass_rarity import PassRarity
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.models.results import Logits, PerText
from poisonsieve.registry import register
from poisonsieve.texts import as_texts


@register("defense", "rarity")
class OnePassRarity(OnePassDetector):
    """The model's own confidence and hidden states together: how rare both are among clean texts.

    Each is converted to its rarity, and the sum is the score. A fifth of the clean rows is held out for scales and
    rarities; a guard's calibration rows replace it for the rarities. Labels are not used.

    The guard folder grows with layers x hidden size squared x 4 bytes: 4 MB for a MiniLM, 28 MB for a base model.

    Args:
        model, max_length, base, allow_pickle, seed: see `NetworkDetector`.

    Attributes:
        passes_: `PassRarity` of the model.
    """

    name: ClassVar[str] = "rarity"
    score_range: ClassVar[tuple[float, float]] = (0.0, np.inf)
    reads_states: ClassVar[bool] = True

    passes_: PassRarity = field(init=False)

    def _learn(self, rows: CleanRows, progress: bool) -> None:
        fitted, held_out = rows.hold_out(self.seed)
        _, states = self._read(fitted.texts, "reading clean rows" if progress else None)
        self.passes_ = PassRarity.learn(
            states,
            self._read(held_out, "reading held-out rows" if progress else None),
            of=f"the model {self.model}",
            remedy="try another model, or a detector that does not read its states, such as psim",
        )

    def score_calibration(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Score a guard's calibration rows, which become the reference if at least 20 of them have a score."""
        logits, states = self._read(as_texts(texts), progress)
        return Scored(self.passes_.rate_reference(logits, states), states.truncated, states.errors)

    def _judge(self, logits: Logits, states: PerText | None) -> np.ndarray:
        assert states is not None  # noqa: S101 - it reads states; for the type checker
        return self.passes_.rate(logits, states)

    def _read(self, texts: Sequence[str], progress: str | None) -> tuple[Logits, PerText]:
        logits, states = self._pass(texts, progress)
        assert states is not None  # noqa: S101 - it reads states; for the type checker
        return logits, states

    def _save_own(self, folder: Path) -> dict[str, Any]:
        self.passes_.save(folder)
        return {}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        del state
        self.passes_ = PassRarity.open(folder, self._fitted())
