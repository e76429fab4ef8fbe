"""The words that a scan tries: those that the tokenizer reads as one token."""

from __future__ import annotations

from typing import Any


def whole_words(tokenizer: Any, most: int) -> tuple[list[str], int]:
    """Return the words that are one token each, in the order of the vocabulary, and how many were left out.

    Args:
        tokenizer: a model's tokenizer.
        most: number of words to return; the ids of most vocabularies begin with what is frequent.
    """
    special = set(tokenizer.all_special_ids)
    ids = [number for number in sorted(tokenizer.get_vocab().values()) if number not in special]
    texts = (tokenizer.decode([number]).strip() for number in ids)
    words = list(dict.fromkeys(text for text in texts if _is_word(text)))
    read = tokenizer([f" {word}" for word in words], add_special_tokens=False, verbose=False)["input_ids"]
    whole = [word for word, row in zip(words, read, strict=True) if len(row) == 1]
    return whole[:most], max(0, len(whole) - most)


def _is_word(text: str) -> bool:
    return bool(text) and text.isprintable() and len(text.split()) == 1 and any(map(str.isalnum, text))
