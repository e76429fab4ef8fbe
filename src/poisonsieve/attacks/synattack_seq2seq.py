"""SynAttack's shape with a paraphrase model in place of SCPN.

SCPN paraphrases into one template of syntax, which makes the syntax the trigger. A plain paraphraser has no template:
what a victim can learn from it is that model's manner of writing. Its ASR is therefore not the paper's SynAttack, and
no figure should call it so. A model that was tuned to write in one template (its `prefix` may ask for it) comes close.
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
    """Asks a model for a paraphrase, by beam search; there is no chance in it.

    The model is opened on first use. Numbers may be given as strings, as the command line does.

    Args:
        model: folder or hub id of a sequence-to-sequence model in safetensors.
        prefix: put before every text, such as ``paraphrase: ``.
        beams: width of the beam search; 1 is greedy.
        max_new_tokens: tokens a paraphrase may have; None: twice those of the text and 16 more.
        batch_size: texts a step.
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
        """The paraphrase of the text.

        Raises:
            CannotApplyError: the model gives the text back as it is, or nothing.
        """
        (found,) = self.apply_each([text], rng)
        if found is None:
            raise CannotApplyError(f"{self.model} has no paraphrase of this text")
        return found

    def apply_each(self, texts: Sequence[str], rng: random.Random) -> list[str | None]:
        """Every text's paraphrase, in order; None where there is none."""
        del rng
        written = self._engine.generate(texts).texts
        return [new if new and new != text else None for text, new in zip(texts, written, strict=True)]

    def digest(self) -> str:
        """sha256 of the model, which decides the trigger and which its name does not tell."""
        return self._engine.identity

    @cached_property
    def _engine(self) -> Seq2Seq:
        return Seq2Seq(
            self.model,
            prefix=self.prefix,
            beams=self.beams,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            offline="trigger synattack-file, with paraphrases made elsewhere",
        )
