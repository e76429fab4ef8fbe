"""Texts and tokenizers: what may be tokenized, to what length, and whether two tokenizers are one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poisonsieve.errors import DataError

_FALLBACK_LIMIT = 512  # for a tokenizer and a config that both state none


@dataclass(frozen=True)
class Encoded:
    """Token ids of some texts, without padding.

    Attributes:
        ids: one list of token ids a text.
        truncated: whether the text was longer than the limit and lost its end.
    """

    ids: list[list[int]]
    truncated: list[bool]


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what is no list of strings; a lone string would be read letter by letter.

    Raises:
        DataError: says what it is instead.
    """
    if isinstance(texts, str | bytes | Mapping):
        raise DataError(f"texts are one {type(texts).__name__}; give a list of strings")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {index} is {type(text).__name__}, not a string")


def same_tokenizer(left: Any, right: Any) -> bool:
    """Whether two tokenizers cut every text into the same tokens, at the same end when it is too long."""
    return bool(_rules(left) == _rules(right))


def _rules(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return type(tokenizer), tokenizer.truncation_side, tokenizer.get_vocab()
    rules = json.loads(backend.to_str())
    # Set anew by every call, so they say nothing of the tokenizer.
    return tokenizer.truncation_side, {
        key: value for key, value in rules.items() if key not in ("truncation", "padding")
    }


def position_limit(config: Any, tokenizer: Any) -> int:
    """How many tokens the network has positions for."""
    limits = [int(tokenizer.model_max_length)]
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        # RoBERTa-like models count positions from pad_token_id + 1.
        offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
        limits.append(int(positions) - offset)
    limit = min(limits)
    return limit if limit < 10**9 else _FALLBACK_LIMIT
