"""SynAttack with a paraphrase model in place of SCPN.

SCPN paraphrases into a syntactic template, which makes the syntax the trigger. A plain paraphraser has no template: a
victim can only learn that model's style. Its ASR is therefore not the paper's SynAttack and must not be reported as
such. A model tuned to write in one template, perhaps on request by `prefix`, comes close.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property

from poisonsieve.config import Source
from poisonsieve.errors import CannotApplyError
from poisonsieve.registry import register
from poisonsieve.rewriting.seq2seq import Seq2Seq


@register("attack", "synattack-seq2seq")
class SynAttackSeq2Seq:
    """Replace a text by a model's paraphrase, found by beam search, deterministically.

    The model is opened on first use. Numbers may be given as strings, as on the command line.

    Args:
        model: folder or hub id of a sequence-to-sequence model in safetensors.
        prefix: text put before every input, such as ``paraphrase: ``.
        beams: width of the beam search; 1 is greedy.
        max_new_tokens: token limit of a paraphrase; None for twice the tokens of the text plus 16.
        batch_size: texts per step.
    """

    def __init__(
        self,
        model: Source,
        prefix: str = "",
        beams: int | str = 4,
        max_new_tokens: int | str | None = None,
        batch_size: int | str = 32,
    ) -> None:
        self.model = model
        self.prefix = prefix
        self.beams = int(beams)
        self.max_new_tokens = None if max_new_tokens is None else int(max_new_tokens)
        self.batch_size = int(batch_size)

    def apply(self, text: str, rng: random.Random) -> str:
        """Return the paraphrase of the text.

        Raises:
            CannotApplyError: the model returns the text unchanged, or nothing.
        """
        (found,) = self.apply_each([text], rng)
        if found is None:
            raise CannotApplyError(f"{self.model} has no paraphrase of this text")
        return found

    def apply_each(self, texts: Sequence[str], rng: random.Random) -> list[str | None]:
        """Return every text's paraphrase, in order; None where there is none."""
        del rng
        written = self._engine.generate(texts).texts
        return [new if new and new != text else None for text, new in zip(texts, written, strict=True)]

    def digest(self) -> str:
        """Return the sha256 of the model, which its name does not identify."""
        return self._engine.identity

    @cached_property
    def _engine(self) -> Seq2Seq:
        return Seq2Seq(
            self.model,
            prefix=self.prefix,
            beams=self.beams,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            offline="trigger synattack-file, with existing paraphrases",
        )
