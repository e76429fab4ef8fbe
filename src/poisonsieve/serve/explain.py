"""Explain a confidence by leaving out each word once and asking the guard again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poisonsieve.verdict import Verdict
from poisonsieve.words import find_words, is_blank


@dataclass(frozen=True)
class WordsLeftOut:
    """A text, and the text without each of its words.

    Attributes:
        words: the words in order, without the white space around them.
        texts: the whole text, then the text without the first word, without the second, and so on.
        truncated: whether there were more words than the maximum; the others were not left out.
    """

    words: list[str]
    texts: list[str]
    truncated: bool


def leave_out(text: str, max_words: int) -> WordsLeftOut:
    """Leave out each of the first `max_words` words, as `find_words` finds them, with the white space after it.

    The only word of a text is not left out, since nothing would remain to be judged.
    """
    words: list[str] = []
    texts = [text]
    for found in find_words(text):
        if len(words) == max_words:
            return WordsLeftOut(words, texts, True)
        behind = text[found.end() :]
        without = text[: found.start()] + behind[len(behind) - len(behind.lstrip()) :]
        if not is_blank(without):
            words.append(found.group())
            texts.append(without)
    return WordsLeftOut(words, texts, False)


def effects(left_out: WordsLeftOut, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return how much the confidence falls without each word, JSON-ready.

    Args:
        left_out: from `leave_out`.
        verdicts: the guard's verdicts on `left_out.texts`, in order.

    Returns:
        ``confidence``, ``gamma``, ``truncated``, and ``words``: each with ``word``, ``confidence_without`` (None if
            the text without it could not be scored) and ``effect``, the confidence minus that (0 if one of them is
            None).
    """
    whole, *without = verdicts
    words = []
    for word, verdict in zip(left_out.words, without, strict=True):
        known = whole.confidence is not None and verdict.confidence is not None
        effect = whole.confidence - verdict.confidence if known else 0.0  # type: ignore[operator]
        words.append({"word": word, "confidence_without": verdict.confidence, "effect": effect})
    return {
        "confidence": whole.confidence,
        "gamma": whole.gamma,
        "words": words,
        "truncated": left_out.truncated or whole.truncated,
    }
