"""SCPD (Qi et al. 2021, "Hidden Killer"): paraphrase the text into a plain sentence before the victim reads it.

The paper uses SCPN with the template of a declarative sentence. Its weights are hard to obtain, so there are two
other engines: paraphrases made elsewhere, and any sequence-to-sequence paraphraser. The second has no syntactic
template and is not the published defence; name its model when reporting results.
"""

from __future__ import annotations

from dataclasses import field
from functools import cached_property
from typing import Any, ClassVar

from poisonsieve.config import Source
from poisonsieve.defenses.back_translation import FileRewriter, where_blank_the_text
from poisonsieve.defenses.rewriter import Rewriter
from poisonsieve.registry import register
from poisonsieve.rewriting.seq2seq import Seq2Seq


@register("defense", "scpd-file")
class FileSCPD(FileRewriter):
    """Reads paraphrases made elsewhere, from a file; arguments as for all file rewriters."""

    name: ClassVar[str] = "scpd-file"


@register("defense", "scpd-seq2seq")
class Seq2SeqSCPD(Rewriter):
    """Rewrites a text in a plain sentence form, by a paraphrase model with beam search.

    A text that comes back empty stays as it is. The model does not read a text past its token limit; `facts` counts
    the texts of the last call that were cut.

    Args:
        model: folder or hub id of a sequence-to-sequence model.
        prefix: text to put before every text, such as ``paraphrase: ``.
        beams: width of the beam search; 1 is greedy.
        max_new_tokens: maximum length of a paraphrase in tokens; None for twice the text's length plus 16.
        batch_size: texts per step.
        allow_pickle: open pickled weights after a scan; pickles can run code when they are loaded.
    """

    name: ClassVar[str] = "scpd-seq2seq"

    model: Source = field(kw_only=False)
    prefix: str = ""
    beams: int = 4
    max_new_tokens: int | None = None
    batch_size: int = 32
    allow_pickle: bool = False
    _cut: int | None = field(default=None, init=False)

    def facts(self) -> dict[str, Any]:
        """Return its arguments, the sha256 of the model, and how many texts of the last call were cut."""
        return super().facts() if self._cut is None else {**super().facts(), "cut": self._cut}

    def reads(self) -> dict[str, Any]:
        """Return the sha256 of the model."""
        return {"models": [self._engine.identity]}

    def _rewrite(self, texts: list[str], *, progress: str | None) -> list[str]:
        written = self._engine.generate(texts, progress=progress)
        self._cut = sum(written.cut)
        return where_blank_the_text(written.texts, texts)

    @cached_property
    def _engine(self) -> Seq2Seq:
        return Seq2Seq(
            self.model,
            prefix=self.prefix,
            beams=self.beams,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            allow_pickle=self.allow_pickle,
            offline="scpd-file, with paraphrases made elsewhere",
        )
