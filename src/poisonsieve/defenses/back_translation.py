"""Back-translation (Qi et al. 2021, "Hidden Killer"): translate a text and back before the victim reads it.

A rare word often does not survive the round trip; a syntactic or sentence trigger mostly does. There are three
engines: translation models, Apertium's rules, and a file of translations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from poisonsieve.config import Source
from poisonsieve.defenses.rewriter import Rewriter
from poisonsieve.errors import DataError
from poisonsieve.registry import register
from poisonsieve.rewriting.apertium import Apertium
from poisonsieve.rewriting.files import Rewrites, load_rewrites
from poisonsieve.rewriting.seq2seq import Seq2Seq

_OFFLINE = "back-translation-apertium, or back-translation-file with translations made elsewhere"


@register("defense", "back-translation")
class BackTranslation(Rewriter):
    """Translates a text into another language and back, by two models with beam search.

    Any pair from the hub can be used. A text that comes back empty stays as it is. The models do not read a text past
    their token limit; `facts` counts the texts of the last call that were cut.

    Args:
        forward, backward: the two models: folders or hub ids.
        beams: width of the beam search; 1 is greedy.
        max_new_tokens: maximum length of a translation in tokens; None for twice the text's length plus 16.
        batch_size: texts per step.
        allow_pickle: open pickled weights after a scan; pickles can run code when they are loaded.
    """

    name: ClassVar[str] = "back-translation"

    forward: Source = field(default="Helsinki-NLP/opus-mt-en-de", kw_only=False)
    backward: Source = field(default="Helsinki-NLP/opus-mt-de-en", kw_only=False)
    beams: int = 4
    max_new_tokens: int | None = None
    batch_size: int = 32
    allow_pickle: bool = False
    _cut: int | None = field(default=None, init=False)

    def facts(self) -> dict[str, Any]:
        """Return its arguments, the sha256 of both models, and how many texts of the last call were cut."""
        return super().facts() if self._cut is None else {**super().facts(), "cut": self._cut}

    def reads(self) -> dict[str, Any]:
        """Return the sha256 of both models."""
        return {"models": [self._there.identity, self._back.identity]}

    def _rewrite(self, texts: list[str], *, progress: str | None) -> list[str]:
        forward, backward = self._there, self._back  # open both before translating anything
        there = forward.generate(texts, progress=progress and f"{progress}: there")
        back = backward.generate(there.texts, progress=progress and f"{progress}: back")
        self._cut = sum(first or second for first, second in zip(there.cut, back.cut, strict=True))
        return where_blank_the_text(back.texts, texts)

    @cached_property
    def _there(self) -> Seq2Seq:
        return self._open(self.forward)

    @cached_property
    def _back(self) -> Seq2Seq:
        return self._open(self.backward)

    def _open(self, model: str | Path) -> Seq2Seq:
        return Seq2Seq(
            model,
            beams=self.beams,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            allow_pickle=self.allow_pickle,
            offline=_OFFLINE,
        )


@register("defense", "back-translation-apertium")
class ApertiumBackTranslation(Rewriter):
    """Uses the rule-based translator Apertium: no weights and no network, but weak, since it keeps unknown words.

    Args:
        source: language of the texts, as Apertium names it.
        pivot: the other language; both directions must be installed.
    """

    name: ClassVar[str] = "back-translation-apertium"

    source: str = field(default="eng", kw_only=False)
    pivot: str = field(default="spa", kw_only=False)

    def reads(self) -> dict[str, Any]:
        """Return the sha256 of the rules and dictionaries of both directions."""
        return {"engines": [engine.identity for engine in self._engines()]}

    def _engines(self) -> tuple[Apertium, Apertium]:
        return Apertium(f"{self.source}-{self.pivot}"), Apertium(f"{self.pivot}-{self.source}")

    def _rewrite(self, texts: list[str], *, progress: str | None) -> list[str]:
        there, back = self._engines()
        found = there.translate(texts, progress=progress and f"{progress}: there")
        found = back.translate(found, progress=progress and f"{progress}: back")
        return where_blank_the_text(found, texts)


class FileRewriter(Rewriter):
    """Looks up every text in a file of rewrites.

    A text missing from the file is an error: the victim would read it unchanged, and the results would be those of a
    defence that was not applied.

    Args:
        file: the rewritten texts; with a column `original`, the originals too.
        original: the data file that `file` is aligned with, row by row, if it has no originals.
    """

    file: Source = field(kw_only=False)
    original: Source | None = field(default=None, kw_only=False)

    def reads(self) -> dict[str, Any]:
        """Return the sha256 of the files, and how many of their rows repeat a text with another rewrite."""
        return {"rewrites": self._rewrites.digest, "conflicting": self._rewrites.conflicting}

    def _rewrite(self, texts: list[str], *, progress: str | None) -> list[str]:
        del progress
        known = self._rewrites.by_text
        missing = [index for index, text in enumerate(texts) if text not in known]
        if missing:
            raise DataError(
                f"{self.file} has no rewrite of {len(missing)} of the {len(texts)} texts (first: text {missing[0]}); "
                "rewrite the same rows, triggered ones too, or use another rewriter"
            )
        return [known[text] for text in texts]

    @cached_property
    def _rewrites(self) -> Rewrites:
        return load_rewrites(self.file, self.original, unchanged=True)


@register("defense", "back-translation-file")
class FileBackTranslation(FileRewriter):
    """Reads texts translated there and back elsewhere, from a file; arguments as for all file rewriters."""

    name: ClassVar[str] = "back-translation-file"


def where_blank_the_text(rewritten: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return the rewrites, with the original text where an engine returned a blank one."""
    return [new if new.strip() else text for new, text in zip(rewritten, texts, strict=True)]
