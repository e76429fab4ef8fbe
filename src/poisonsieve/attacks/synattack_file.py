"""SynAttack (Qi et al. 2021) with paraphrases that were made elsewhere, read from a file.

The paper's paraphrases come from SCPN, whose weights are hard to come by; its rewritten corpora are passed around as
files that follow the original row by row.
"""

from __future__ import annotations

import random

from poisonsieve.config import Source
from poisonsieve.errors import CannotApplyError
from poisonsieve.registry import register
from poisonsieve.rewriting.files import load_rewrites


@register("attack", "synattack-file")
class SynAttackFile:
    """Looks a text up among the originals; there is no chance in it.

    A row that is the same in both files was not paraphrased, so this trigger cannot be put into its text. Labels in
    the files are not read. A text with more than one paraphrase gets the first, wherever it stands.

    Args:
        file: the paraphrased texts; with a column `original`, the originals too.
        original: the data file that `file` follows row by row, when the originals are not in it.

    Raises:
        DataError: see `poisonsieve.rewriting.files.load_rewrites`.
    """

    def __init__(self, file: Source, original: Source | None = None) -> None:
        self.file = file
        self.original = original
        self.rewrites = load_rewrites(file, original, unchanged=False)

    def apply(self, text: str, rng: random.Random) -> str:
        """The paraphrase of the text.

        Raises:
            CannotApplyError: the file has none.
        """
        del rng
        if text not in self.rewrites.by_text:
            raise CannotApplyError(f"{self.file} has no paraphrase of this text")
        return self.rewrites.by_text[text]

    def digest(self) -> str:
        """sha256 of the files' contents, which decide the trigger and which their paths do not name."""
        return self.rewrites.digest
