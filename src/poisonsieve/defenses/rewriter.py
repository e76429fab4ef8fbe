"""Defences that change the text before the victim reads it: ONION, back-translation, SCPD.

Nothing is rejected; the victim answers every rewritten text. A new rewriter is one file: a class registered with
``@register("defense", name)`` that fills in `_rewrite`, and `_fit` where it has something to learn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sklearn.base import BaseEstimator

from poisonsieve.texts import as_texts

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier


class Rewriter(ABC, BaseEstimator):  # type: ignore[misc]
    """Base of all rewriters, with scikit-learn's conventions.

    The constructor stores its arguments untouched, each with a default; what `fit` learns ends in an underscore.
    """

    name: ClassVar[str]
    #: Seconds of work that were spared because answers were remembered: they belong to what a rewrite costs.
    spared_seconds: float = 0.0

    def remember_in(self, file: Path) -> None:
        """Keep slow answers in a file, and find there what another run has kept. Most rewriters have none to keep.

        Args:
            file: of `poisonsieve.rewriting.memory.Memory`; need not exist.
        """
        del file

    def fit(self, dataset: datasets.Dataset, *, victim: Classifier, progress: bool = False) -> Self:
        """Choose on clean rows what there is to choose; most rewriters have nothing.

        Args:
            dataset: clean held-out rows, columns `text` and `label`.
            victim: the classifier that will read the rewritten texts.
            progress: draw progress bars on stderr.
        """
        del dataset, victim, progress
        return self

    def rewrite(self, texts: Sequence[str], *, progress: str | None = None) -> list[str]:
        """The texts as the victim is to read them: one a text, in order.

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

    def prepare(self, texts: Sequence[str], *, progress: str | None = None) -> dict[str, Any]:
        """The part of its work on texts that no victim has a say in, by text, JSON-ready: done once, for every victim.

        Hand it to `use` of another rewriter with the same arguments. Here it is the rewrites themselves; nothing, for a
        rewriter whose `fit` asks the victim and that does not say which part of its work is free of that.
        """
        if type(self).fit is not Rewriter.fit:
            return {}
        texts = as_texts(texts)
        return dict(zip(texts, self.rewrite(texts, progress=progress), strict=True))

    def use(self, prepared: Mapping[str, Any]) -> Self:
        """Take over what `prepare` gave; those texts are not worked on again."""
        self.prepared_ = {**getattr(self, "prepared_", {}), **prepared}
        return self

    def _known_rewrites(self) -> Mapping[str, str]:
        """Rewrites that need no work any more, by text."""
        known: dict[str, str] = getattr(self, "prepared_", {})
        return known

    def reads(self) -> dict[str, Any]:
        """Digests of the files and weights that decide the rewrites and that the arguments only name, JSON-ready.

        Raises:
            UnsupportedError, DataError, CheckpointError, HubError: they cannot be had.
        """
        return {}

    def facts(self) -> dict[str, Any]:
        """What decides the rewrites, JSON-ready: its arguments, what it reads, what `fit` found."""
        arguments = {
            key: value if isinstance(value, int | float | None) else str(value)
            for key, value in self.get_params(deep=False).items()
        }
        return {**arguments, **self.reads()}

    @abstractmethod
    def _rewrite(self, texts: list[str], *, progress: str | None) -> list[str]:
        """Rewrite texts, in order."""
