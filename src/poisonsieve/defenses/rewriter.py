"""Defences that change the text before the victim reads it: ONION, back-translation, SCPD.

Nothing is rejected; the victim answers every rewritten text. A new rewriter is one file: a class registered with
``@register("defense", name)`` that implements `_rewrite`, and `_fit` if it has something to learn.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from poisonsieve.defenses.settings import Settings
from poisonsieve.texts import as_texts

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier


@dataclass(frozen=True)
class Prepared:
    """A rewriter's work on texts that is valid for any victim.

    Attributes:
        by_text: JSON-ready values by text; their meaning is the rewriter's own.
        seconds: time the work took, including killed runs as far as their work was kept.
    """

    by_text: dict[str, Any]
    seconds: float


class Rewriter(Settings, ABC):
    """Base of all rewriters. What `fit` learns is kept in attributes that end in an underscore."""

    #: Arguments that do not affect the result of `prepare`.
    unprepared: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def learns(cls) -> bool:
        """Return whether `fit` chooses something; most rewriters have nothing to choose."""
        return cls.fit is not Rewriter.fit

    def fit(self, dataset: datasets.Dataset, *, victim: Classifier, progress: bool = False) -> Self:
        """Make the rewriter's choices on clean rows; most rewriters have none to make.

        Args:
            dataset: clean held-out rows, columns `text` and `label`.
            victim: the classifier that will read the rewritten texts.
            progress: draw progress bars on stderr.
        """
        del dataset, victim, progress
        return self

    def rewrite(self, texts: Sequence[str], *, progress: str | None = None) -> list[str]:
        """Return the texts as the victim is to read them, one per text, in order.

        A text that the rewriter can do nothing with (empty, one word, no parse) stays as it is.

        Args:
            texts: n strings.
            progress: a label for a progress bar on stderr; no bar without one.

        Raises:
            DataError: something that is not a string is among the texts.
            UnsupportedError: the engine behind it is not installed; the message says which package gives it.
        """
        texts = as_texts(texts)
        known = self._known_rewrites()
        todo = [text for text in texts if text not in known]
        rewritten = self._rewrite(todo, progress=progress) if todo else []
        if len(rewritten) != len(todo):
            raise RuntimeError(f"{self.name} gave {len(rewritten)} texts for {len(todo)}")
        new = iter(rewritten)
        return [known[text] if text in known else next(new) for text in texts]

    def prepare(self, texts: Sequence[str], *, workdir: Path | None = None, progress: str | None = None) -> Prepared:
        """Do the part of the work on texts that does not depend on the victim, once for all victims.

        Pass the result to `use` of another rewriter with the same arguments. By default it is the rewrites themselves,
        or nothing for a rewriter that learns and does not override this.

        Args:
            texts: n strings.
            workdir: folder for unfinished work on these texts, to resume from after a kill; a quick rewriter keeps
                none.
            progress: a label for a progress bar on stderr; no bar without one.

        Raises:
            OutputError: `workdir` cannot be written to. See `rewrite` for the rest.
        """
        del workdir
        if self.learns():
            return Prepared({}, 0.0)
        started, texts = time.perf_counter(), as_texts(texts)
        rewritten = self.rewrite(texts, progress=progress)
        return Prepared(dict(zip(texts, rewritten, strict=True)), time.perf_counter() - started)

    def use(self, prepared: Mapping[str, Any]) -> Self:
        """Reuse the result of `prepare`, by text; those texts are not worked on again."""
        self.prepared_ = {**getattr(self, "prepared_", {}), **prepared}
        return self

    def _known_rewrites(self) -> Mapping[str, str]:
        """Rewrites that need no work any more, by text."""
        known: dict[str, str] = getattr(self, "prepared_", {})
        return known

    def reads(self) -> dict[str, Any]:
        """Return digests of the files and weights that the arguments name and that decide the rewrites, JSON-ready.

        Raises:
            UnsupportedError, DataError, CheckpointError, HubError: they cannot be read.
        """
        return {}

    def facts(self) -> dict[str, Any]:
        """Return everything that decides the rewrites, JSON-ready: arguments, what it reads, what `fit` found."""
        arguments = {
            key: value if isinstance(value, int | float | None) else str(value)
            for key, value in self.get_params(deep=False).items()
        }
        return {**arguments, **self.reads()}

    @abstractmethod
    def _rewrite(self, texts: list[str], *, progress: str | None) -> list[str]:
        """Rewrite texts, in order."""
