"""Defences that change the weights before anyone asks them: Fine-mixing.

Nothing is rejected and no text is changed; the repaired model answers. A new repair is one file: a class registered
with ``@register("defense", name)`` that implements `repair`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poisonsieve.defenses.settings import Settings

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier


class WeightRepair(Settings, ABC):
    """Base of all repairs."""

    @abstractmethod
    def repair(
        self,
        model: str | Path,
        clean: datasets.Dataset,
        dev: datasets.Dataset,
        *,
        workdir: Path | None = None,
        progress: bool = False,
    ) -> tuple[Classifier, dict[str, Any]]:
        """Return a repaired and trained classifier, and a JSON-ready record of the choices made.

        Args:
            model: the weights that may be poisoned: a whole checkpoint (theta_p).
            clean: clean rows to tune on, columns `text` and `label`.
            dev: other clean rows, for every choice; nothing is ever chosen on test or triggered rows.
            workdir: folder for unfinished training, to resume from after a kill.
            progress: draw progress bars on stderr.

        Raises:
            CheckpointError, UnsupportedError: `model` cannot be repaired this way.
        """

    @abstractmethod
    def plan(self) -> dict[str, Any]:
        """Return everything that decides the repair of a given model on given rows, JSON-ready, for cache and record."""
