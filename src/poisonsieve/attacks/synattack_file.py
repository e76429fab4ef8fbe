"""SynAttack (Qi et al. 2021) with existing paraphrases, read from a file.

The paper's paraphrases come from SCPN, whose weights are hard to find; its rewritten corpora circulate as files
aligned with the original row by row.
"""

from __future__ import annotations

import random

from poisonsieve.config import Source
from poisonsieve.errors import CannotApplyError
from poisonsieve.registry import register
from poisonsieve.rewriting.files import load_rewrites


@register("attack", "synattack-file")
class SynAttackFile:
    """Replace a text by its paraphrase from a file, deterministically.

    A row that is the same in both files was not paraphrased, so its text cannot be triggered. Labels in the files are
    ignored. A text with several paraphrases always gets the first.

    Args:
        file: the paraphrased texts, and the originals if it has a column `original`.
        original: the data file with which `file` is aligned row by row, if `file` does not contain the originals.

    Raises:
        DataError: see `poisonsieve.rewriting.files.load_rewrites`.
    """

    def __init__(self, file: Source, original: Source | None = None) -> None:
        self.file = file
        self.original = original
        self.rewrites = load_rewrites(file, original, unchanged=False)

    def apply(self, text: str, rng: random.Random) -> str:
        """Return the paraphrase of the text.

        Raises:
            CannotApplyError: the file has none.
        """
        del rng
        if text not in self.rewrites.by_text:
            raise CannotApplyError(f"{self.file} has no paraphrase of this text")
        return self.rewrites.by_text[text]

    def digest(self) -> str:
        """Return the sha256 of the files' contents, which their paths do not identify."""
        return self.rewrites.digest
