"""PSIM's copy judged by how rare its pass over a text is: how sure it is, and how it gets there.

The paper looks at the largest probability alone. A trigger that was trained to be unsure, or that lies in one row of the
embedding, leaves no confidence to see, although its path through the copy is plain; see
`poisonsieve.defenses.pass_rarity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.pass_rarity import PassRarity
from poisonsieve.defenses.psim import PSIM
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.models.results import Logits, PerText
from poisonsieve.models.scoring import BatchScorer
from poisonsieve.registry import register


@register("defense", "psim-rarity")
class PSIMRarity(PSIM):
    """PSIM's copy, judged by its confidence and its hidden states together: how rare both are among clean texts.

    Both are read from one forward pass, each is converted to its rarity, and the sum is the score. A fifth of the clean
    rows is held out of the training for scales and rarities; a guard's calibration rows replace it for the rarities.

    The guard folder grows with layers x hidden size squared x 4 bytes beside the trained network.

    Args:
        method, learning_rate, epochs, batch_size, virtual_tokens, encoder_hidden, precision: see `PSIM`.
        model, max_length, base, allow_pickle, seed: see `PSIM`.

    Attributes:
        passes_: `PassRarity` of the copy.
        classifier_, training_, spec_: see `PSIM`.
    """

    name: ClassVar[str] = "psim-rarity"
    score_range: ClassVar[tuple[float, float]] = (0.0, np.inf)
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    passes_: PassRarity = field(init=False)

    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        trained_on, held_out = rows.hold_out(self.seed)
        super()._fit(trained_on, workdir=workdir, progress=progress)
        _, states = self._read(trained_on.texts, "reading clean rows" if progress else None)
        self.passes_ = PassRarity.learn(
            states,
            self._read(held_out, "reading held-out rows" if progress else None),
            of="the unlearned copy",
            remedy="train it less (--lr, --epochs), or try another tuning (--method)",
        )

    def score_calibration(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Score a guard's calibration rows, which become the reference if at least 20 of them have a score."""
        logits, states = self._read(texts, progress)
        return Scored(self.passes_.rate_reference(logits, states), logits.truncated, logits.errors)

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        logits, states = self._read(texts, progress)
        return Scored(self.passes_.rate(logits, states), logits.truncated, logits.errors)

    def _read(self, texts: Sequence[str], progress: str | None) -> tuple[Logits, PerText]:
        return BatchScorer(self._fitted(), progress=progress).logits_and_states(texts)

    def save(self, folder: Path) -> dict[str, Any]:
        """The trained network, and what was learned from its passes; see the base class."""
        state = super().save(folder)
        self.passes_.save(folder)
        return state

    @classmethod
    def open(cls, folder: Path, state: dict[str, Any], *, base: str | Path | None, allow_pickle: bool) -> Self:
        """The trained network on the base that it was trained on, and what was learned from it; see the base class."""
        opened = super().open(folder, state, base=base, allow_pickle=allow_pickle)
        opened.passes_ = PassRarity.open(folder, opened._fitted())
        return opened
