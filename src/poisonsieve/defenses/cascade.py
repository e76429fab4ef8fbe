"""A cheap detector settles the clear cases, and a dearer one is asked about the rest.

Most clean text lies well within what a score from the victim's own pass calls usual. A copy that was trained to forget the
task need not read it: asked about the other half alone, it finds nearly all that it finds otherwise, at half its cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from poisonsieve.defenses.detector import Detector, Scored
from poisonsieve.defenses.members import DetectorOfMembers
from poisonsieve.defenses.one_pass import OnePassDetector, ReadsAnswer
from poisonsieve.defenses.rarity import FEWEST_ROWS
from poisonsieve.defenses.settings import Share
from poisonsieve.defenses.tensors import read_numbers
from poisonsieve.errors import ConfigError, DataError
from poisonsieve.models.results import Logits
from poisonsieve.registry import register


@register("defense", "cascade")
class Cascade(DetectorOfMembers, ReadsAnswer):
    """Two detectors in a row, under one false-rejection rate: the second scores what the first does not call usual.

    A text on which the first scores no higher than a share `clear` of clean texts is settled. Its score is the first's
    minus that bar, so at most 0; the score of any other text is the second's, at least 0. Calibration rows take the same
    way, so one gamma and its guarantee hold for both steps. They set the bar as well: leaving a row out moves it by one
    rank at most.

    Fitted on the victim itself, the first reads what the victim computes anyway. Clean traffic then costs 1 - `clear` of the
    second's passes. A trigger that the first calls usual gets past, whatever the second would say: a larger `clear` is
    faster, and misses more.

    Args:
        of: names of two detectors, joined by ``+``. The first scores in one pass (``mahalanobis``, ``dan``, ``msp``); the
            second's scores are not negative.
        clear: share of clean texts that the first settles.
        model, base, allow_pickle, seed: see `DetectorOfMembers`.

    Attributes:
        members_: see `DetectorOfMembers`.
        bar_: the first's score up to which a text is settled.
    """

    name: ClassVar[str] = "cascade"

    of: str = "mahalanobis+psim-rarity"
    clear: Share = 0.5
    bar_: float = field(init=False)

    def plan(self, label_names: Sequence[str] | None) -> dict[str, Any]:
        """Return its settings, the order of the two, and their plans."""
        plan = super().plan(label_names)
        return {**plan, "guard": {**plan["guard"], "order": list(plan["guard"]["members"]), "clear": self.clear}}

    def _make(self) -> dict[str, Detector]:
        made = super()._make()
        if len(made) != 2:
            raise ConfigError(f"cascade: of={self.of!r} has to name two detectors, joined by +")
        (first, cheap), (second, dear) = made.items()
        if not isinstance(cheap, OnePassDetector):
            raise ConfigError(
                f"cascade: {first} cannot come first; it does not score in one pass, as mahalanobis does"
            )
        if dear.score_range[0] < 0:
            raise ConfigError(f"cascade: {second} cannot come second; its scores can be negative")
        return made

    def _refer_to(self, scored: dict[str, Scored]) -> None:
        found = next(iter(scored.values())).scores
        known = found[np.isfinite(found)]
        if len(known) < FEWEST_ROWS:
            raise DataError(
                f"a fifth of the clean rows, without repeats and unreadable ones, is {len(known)}, and {self.name} needs "
                f"{FEWEST_ROWS} to find what is usual; give more rows"
            )
        self.bar_ = float(np.quantile(known, self.clear, method="inverted_cdf"))

    def score_calibration(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Score a guard's calibration rows; they set the bar if at least 20 of them have a score of the first.

        The second scores them all, since it may learn from them how rare a score is.
        """
        (cheap, dear), label = self._pair(), progress
        scored = cheap.score_calibration(texts, progress=label)
        every = dear.score_calibration(texts, progress=label)
        if np.isfinite(scored.scores).sum() >= FEWEST_ROWS:
            self._refer_to({self.name: scored})
        asked = self._unsettled(scored)
        return self._together(scored, asked, _at(every, asked))

    def read(self, texts: Sequence[str], *, progress: str | None = None) -> tuple[Scored, Logits]:
        """Return scores, and the logits of the pass that the first detector reads."""
        cheap, _ = self._pair()
        scored, logits = cheap.read(texts, progress=progress)
        return self._ask(texts, scored, progress), logits

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        return self._ask(texts, self._pair()[0].score(texts, progress=progress), progress)

    def _ask(self, texts: Sequence[str], scored: Scored, progress: str | None) -> Scored:
        """Ask the second detector about what the first has not settled."""
        asked = self._unsettled(scored)
        if not len(asked):
            return self._together(scored, asked, _at(scored, asked))
        return self._together(scored, asked, self._pair()[1].score([texts[i] for i in asked], progress=progress))

    def _unsettled(self, scored: Scored) -> np.ndarray:
        """Return the places of the texts with a score above the bar; one without a score is settled: it is rejected."""
        return np.flatnonzero(scored.scores > self.bar_)

    def _together(self, scored: Scored, asked: np.ndarray, answers: Scored) -> Scored:
        scores, truncated, errors = scored.scores - self.bar_, scored.truncated.copy(), list(scored.errors)
        scores[asked] = answers.scores
        truncated[asked] |= answers.truncated
        for place, error in zip(asked, answers.errors, strict=True):
            errors[place] = error
        return Scored(scores, truncated, errors)

    def _pair(self) -> tuple[OnePassDetector, Detector]:
        cheap, dear = self._fitted().values()
        assert isinstance(cheap, OnePassDetector)  # noqa: S101 - `_make` has checked it; for the type checker
        return cheap, dear

    def _save_own(self, folder: Path) -> dict[str, Any]:
        return {"clear": [self.clear], "bar": [self.bar_]}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        (self.clear,), (self.bar_,) = (read_numbers(folder, state, name, 1).tolist() for name in ("clear", "bar"))


def _at(scored: Scored, places: np.ndarray) -> Scored:
    return Scored(scored.scores[places], scored.truncated[places], [scored.errors[i] for i in places])
