"""Tokenizing texts, finding length limits, and comparing tokenizers."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from poisonsieve.models.results import NO_TOKENS
from poisonsieve.verdict import Failure

# A fast tokenizer stores the truncation of the last call as state, so concurrent calls would interfere.
_TOKENIZING = threading.Lock()
_CHARACTERS_PER_TOKEN = 64  # far more than the tokens of any real text have
_FALLBACK_LIMIT = 512  # if neither tokenizer nor config states a limit
_NO_LIMIT = 10**9  # tokenizers without a limit state a number of thirty digits


@dataclass(frozen=True)
class Encoded:
    """Token ids of some texts, without padding.

    Attributes:
        ids: one list of token ids per text.
        truncated: whether each text was longer than the limit and was cut.
    """

    ids: list[list[int]]
    truncated: list[bool]


def prepare_tokenizer(tokenizer: Any) -> Any:
    """Give the tokenizer a pad token, if it has a suitable token, and a valid length limit."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if stated_limit(tokenizer.model_max_length) is None:  # libraries compare numbers with whatever it holds
        tokenizer.model_max_length = VERY_LARGE_INTEGER
    return tokenizer


def encode(tokenizer: Any, texts: Sequence[str], limit: int) -> Encoded:
    """Tokenize the texts, each truncated to `limit` tokens.

    Text far beyond the limit is cut off before tokenizing, which saves time.
    """
    longest = limit * _CHARACTERS_PER_TOKEN
    # Keep the end that the tokenizer keeps, so that a victim with a lower limit reads part of what its guard reads.
    left = tokenizer.truncation_side == "left"
    heads = [text[-longest:] if left else text[:longest] for text in texts]
    truncated = [len(text) > longest for text in texts]
    with _TOKENIZING:
        ids = tokenizer(heads, truncation=True, max_length=limit, verbose=False)["input_ids"]
        for index, row in enumerate(ids):
            if len(row) > limit:
                truncated[index] = True
            elif len(row) == limit and not truncated[index]:
                truncated[index] = len(tokenizer(heads[index], verbose=False)["input_ids"]) > len(row)
    # Tokenizers ignore a limit below the number of special tokens.
    return Encoded([row[len(row) - limit :] if left and len(row) > limit else row[:limit] for row in ids], truncated)


def encode_each(tokenizer: Any, texts: Sequence[str], limit: int) -> tuple[Encoded, list[str | None]]:
    """Like `encode`, with a reason for each text without ids; a text on which the tokenizer fails affects no other."""
    errors: list[str | None] = [None] * len(texts)
    try:
        encoded = encode(tokenizer, texts, limit) if texts else Encoded([], [])
    except Exception as error:
        if len(texts) == 1:
            return Encoded([[]], [False]), [Failure("tokenizer", f"tokenizer failed: {type(error).__name__}")]
        parts = [encode_each(tokenizer, [text], limit) for text in texts]
        encoded = Encoded([part.ids[0] for part, _ in parts], [part.truncated[0] for part, _ in parts])
        errors = [reasons[0] for _, reasons in parts]
    return encoded, [
        NO_TOKENS if not ids and error is None else error for ids, error in zip(encoded.ids, errors, strict=True)
    ]


def same_tokenizer(left: Any, right: Any) -> bool:
    """Tell whether two tokenizers produce the same tokens for every text and truncate at the same end."""
    return bool(_rules(left) == _rules(right)) and _read(left) == _read(right)


def _read(tokenizer: Any) -> list[list[int] | None]:
    """Tokenize some sample texts: the rules do not cover Python tokenizers, nor settings outside the rules."""
    special = " ".join(map(str, tokenizer.all_special_tokens))
    texts = [
        "The film's 3rd ACT, naive and unbelievably slow ...",
        f"a {special} b",
        "  ab\tAB\nx\u00e9\u4e2d\U0001f600",
    ]
    read: list[list[int] | None] = []
    for text in texts:
        try:
            read.append(list(tokenizer(text, verbose=False)["input_ids"]))
        except Exception:
            read.append(None)  # the tokenizer does not support these characters
    return read


def _rules(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return type(tokenizer), tokenizer.truncation_side, tokenizer.get_vocab()
    rules = json.loads(backend.to_str())
    # Truncation and padding are set by every call, so they do not characterize the tokenizer.
    return tokenizer.truncation_side, {
        key: value for key, value in rules.items() if key not in ("truncation", "padding")
    }


def position_limit(network: Any, tokenizer: Any) -> int:
    """Return the number of tokens that a network reads: the smallest limit in its config and tokenizer.

    An absent, zero, negative, infinite or huge value (1e30) means that there is no limit.
    """
    config = network.config.get_text_config()
    positions = stated_limit(getattr(config, "max_position_embeddings", None))
    stated = [stated_limit(tokenizer.model_max_length), positions and positions - _positions_lost(network)]
    return min((limit for limit in stated if limit is not None), default=_FALLBACK_LIMIT)


def stated_limit(value: object) -> int | None:
    """Return the token limit that a file states, or None if the value means no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < _NO_LIMIT:
        return None
    return int(value)


def _positions_lost(network: Any) -> int:
    """Return the number of positions unusable for text: RoBERTa-like networks count from their padding index on."""
    from torch import nn

    for name, module in network.named_modules():
        if (
            name.endswith("position_embeddings")
            and isinstance(module, nn.Embedding)
            and module.padding_idx is not None
        ):
            return module.padding_idx + 1
    return 0
