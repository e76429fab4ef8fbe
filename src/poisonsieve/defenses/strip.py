"""STRIP (Gao et al. 2019 for images; Gao et al. 2021 for text too).

Part of a text's words are replaced with words of clean texts, several times over. On clean text the predictions then
vary from copy to copy; a trigger that survives forces the same class on every copy. Poisoned text therefore shows as
low entropy of the predictions.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.network import ModelDetector
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.settings import AtLeastOne, Share
from poisonsieve.errors import CheckpointError, DataError
from poisonsieve.registry import register
from poisonsieve.storage import write_json

POOL_FILE = "pool.json"


@register("defense", "strip")
class STRIP(ModelDetector):
    """How sure the model stays when some of the text's words are replaced: triggers withstand it.

    The score is minus the mean entropy, in nats, of the predictions on copies with some words replaced.

    Each copy takes its new words from one clean text, drawn for that copy; which words are replaced, and with which,
    is drawn uniformly. The copies of a text depend on the seed and that text alone. For K classes, scores range from
    -log(K) to 0. Scoring a text costs `copies` forward passes.

    The guard folder contains the clean texts that words are drawn from: share it only if you may share them.

    Args:
        copies: copies of each text.
        share: share of a text's words to replace, in (0, 1). If that is not a whole number of words, it is rounded up
            or down at random, so that it holds on average: a one-word text is replaced in that share of its copies.
        pool_size: number of clean texts to draw words from, drawn with `seed` from the rows it is fitted on.
        model, max_length, base, allow_pickle, seed: see `NetworkDetector`.

    Attributes:
        pool_: the words of each clean text in the pool.
    """

    name: ClassVar[str] = "strip"
    score_range: ClassVar[tuple[float, float]] = (-np.inf, 0.0)

    copies: AtLeastOne = 10
    share: Share = 0.5
    pool_size: AtLeastOne = 1000

    def _learn(self, rows: CleanRows, progress: bool) -> None:
        del progress
        texts = [words for text in rows.texts if (words := text.split())]
        if not texts:
            raise DataError("the clean rows contain no words; give rows with texts")
        order = np.random.default_rng(self.seed).permutation(len(texts))[: self.pool_size]
        self.pool_ = [texts[index] for index in sorted(order)]

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        logits = self._fitted().score([copy for text in texts for copy in self.perturb(text)], progress=progress)
        # The copies of a text are adjacent, so each row of the reshaped array belongs to one text.
        entropies = entropy(logits.probabilities).reshape(len(texts), self.copies)
        return Scored(
            -entropies.mean(axis=1),
            np.any(logits.truncated.reshape(len(texts), self.copies), axis=1),
            [_first_error(logits.errors[start : start + self.copies]) for start in self._starts(texts)],
        )

    def _starts(self, texts: list[str]) -> range:
        return range(0, len(texts) * self.copies, self.copies)

    def perturb(self, text: str) -> list[str]:
        """Return `copies` copies of a text with about `share` of their words replaced; the same ones at every call."""
        rng = np.random.default_rng(_seed(self.seed, text))
        return [self._copy(text.split(), rng) for _ in range(self.copies)]

    def _copy(self, words: list[str], rng: np.random.Generator) -> str:
        replaced = int(self.share * len(words) + rng.random())
        source = self.pool_[rng.integers(len(self.pool_))]
        for place in rng.choice(len(words), replaced, replace=False) if words else ():
            words[place] = source[rng.integers(len(source))]
        return " ".join(words)

    def _save_own(self, folder: Path) -> dict[str, Any]:
        write_json(folder / POOL_FILE, [" ".join(words) for words in self.pool_])
        return {}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        try:
            pool = json.loads((folder / POOL_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder / POOL_FILE} cannot be read: {error}; fit the guard again") from None
        texts = pool if isinstance(pool, list) else []
        self.pool_ = [text.split() for text in texts if isinstance(text, str)]
        if not self.pool_ or len(self.pool_) < len(texts) or not all(self.pool_):
            raise CheckpointError(f"{folder / POOL_FILE} is damaged: not a list of texts; fit the guard again")


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the Shannon entropy of each row, in nats: (n, K) -> (n,). Probability 0 adds nothing; NaN stays NaN."""
    with np.errstate(divide="ignore"):
        logs = np.where(probabilities > 0, np.log(probabilities), np.where(np.isnan(probabilities), np.nan, 0.0))
    result: np.ndarray = -(probabilities * logs).sum(axis=1)
    return result


def _seed(seed: int, text: str) -> int:
    # Surrogates cannot be encoded; refusing them is left to the tokenizer.
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).digest()[:16])


def _first_error(errors: list[str | None]) -> str | None:
    return next((error for error in errors if error is not None), None)
