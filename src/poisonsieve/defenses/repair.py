"""Defences that change the weights before anyone asks them.

Nothing is rejected and no text is changed; the repaired model answers. A new repair is one file: a class registered
with ``@register("defense", name)`` that implements `repair`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poisonsieve.defenses.settings import Settings
from poisonsieve.errors import UnsupportedError

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier
    from poisonsieve.models.whole import Head


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


def open_whole(
    source: str | Path, label_names: Sequence[str], head: Head, *, allow_pickle: bool, seed: int
) -> Classifier:
    """Open a whole checkpoint as a classifier of these classes, for a repair that changes all of its weights.

    Raises:
        UnsupportedError: it is an adapter.
        CheckpointError: it has no head for these classes, and `head` requires one.
    """
    from poisonsieve.models.load import load_classifier
    from poisonsieve.models.safety import is_adapter
    from poisonsieve.models.sources import resolve

    if is_adapter(resolve(source, allow_pickle=allow_pickle)):
        raise UnsupportedError(
            f"{source} is an adapter; a repair changes whole models: give the whole checkpoint it was tuned from"
        )
    return load_classifier(source, label_names=label_names, head=head, allow_pickle=allow_pickle, seed=seed)


def note_descent(repaired: Classifier, *ancestors: Classifier) -> None:
    """Record what a repaired classifier descends from; its own weights are in no file yet."""
    first = ancestors[0].provenance
    digests = [ancestor.provenance.base_digest for ancestor in (*ancestors[1:], ancestors[0])]
    repaired.provenance = replace(first, origins=(*first.origins, *digests), identity="")
