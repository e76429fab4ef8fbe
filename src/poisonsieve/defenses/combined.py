"""Several detectors as one: a text is as suspicious as the member that suspects it most.

Detectors fail on different attacks. PSIM sees what a model stays sure of, and misses a trigger that was trained to be
unsure; distances in feature space see that one, and miss others. Each member's score is converted to its rarity among
clean rows, which makes scores of any scale comparable, and the highest rarity decides. The threshold is then found on
the combined score: one false-rejection rate holds for all members together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.members import DetectorOfMembers
from poisonsieve.defenses.rarity import FEWEST_ROWS, LinearRarity, Rarity
from poisonsieve.defenses.tensors import read_tensors, write_tensors
from poisonsieve.registry import register

#: Kinds of rarity, by the file that holds their references: a gamma found with one means nothing to another, and an older
#: version of this package cannot take the one for the other.
_FILES: dict[type[Rarity], str] = {Rarity: "rarities.safetensors", LinearRarity: "references.safetensors"}


@register("defense", "combined")
class Combined(DetectorOfMembers):
    """Several detectors under one false-rejection rate: the score is the largest rarity over them.

    A member's rarity of a text is -log of the share of clean reference rows that score as high; see
    `poisonsieve.defenses.rarity.Rarity`. A guard's calibration rows become the reference, because members may score texts
    that their model was trained on lower than new ones. Without a guard it is a seeded fifth of the clean rows, on which
    no member is fitted.

    A text that a member cannot score has no score. Scoring costs what the members cost together.

    Args:
        of: names of detectors, joined by ``+``; each by its defaults.
        model, base, allow_pickle, seed: see `DetectorOfMembers`.

    Attributes:
        members_: see `DetectorOfMembers`.
        references_: each member's scores of the reference rows, by name.
    """

    name: ClassVar[str] = "combined"
    score_range: ClassVar[tuple[float, float]] = (0.0, np.inf)

    of: str = "psim+dan"
    references_: dict[str, Rarity] = field(init=False)

    def _refer_to(self, scored: dict[str, Scored]) -> None:
        self.references_ = {name: Rarity.of(found.scores, name) for name, found in scored.items()}

    def score_calibration(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Score a guard's calibration rows, which become the reference if at least 20 have a score of every member."""
        scored = {
            name: member.score_calibration(texts, progress=progress and f"{progress}: {name}")
            for name, member in self._fitted().items()
        }
        if min(np.isfinite(found.scores).sum() for found in scored.values()) < FEWEST_ROWS:
            return self._rated(scored)
        self.references_ = {name: Rarity(found.scores) for name, found in scored.items()}
        own = {name: self.references_[name].of_its_own(found.scores) for name, found in scored.items()}
        return self._together(scored, own)

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        scored = {
            name: member.score(texts, progress=progress and f"{progress}: {name}")
            for name, member in self._fitted().items()
        }
        return self._rated(scored)

    def _rated(self, scored: dict[str, Scored]) -> Scored:
        """Score texts by their rarities among the reference rows."""
        return self._together(scored, {name: self.references_[name](found.scores) for name, found in scored.items()})

    @staticmethod
    def _together(scored: dict[str, Scored], rarities: dict[str, np.ndarray]) -> Scored:
        """Join what the members say of the same texts: the largest rarity, and the first error."""
        errors = [
            next(filter(None, reasons), None) for reasons in zip(*(s.errors for s in scored.values()), strict=True)
        ]
        truncated = np.any([found.truncated for found in scored.values()], axis=0)
        largest: np.ndarray = np.max(list(rarities.values()), axis=0)  # a NaN among them propagates
        return Scored(largest, truncated, errors)

    def _save_own(self, folder: Path) -> dict[str, Any]:
        references = {name: known.reference for name, known in self.references_.items()}
        write_tensors(folder / _FILES[type(next(iter(self.references_.values())))], references)
        return {}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        rarity = next((kind for kind, file in _FILES.items() if (folder / file).is_file()), Rarity)
        tensors = read_tensors(folder / _FILES[rarity], dict.fromkeys(self.members_, (None,)))
        self.references_ = {name: rarity(values) for name, values in tensors.items()}
