"""Tokens: those of a text, how many of them are read, and whether two tokenizers make the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from poisonsieve.models.results import NO_TOKENS
from poisonsieve.verdict import Failure

# A fast tokenizer keeps the truncation of the last call as its state, so calls from two threads would mix theirs up.
_TOKENIZING = threading.Lock()
_CHARACTERS_PER_TOKEN = 64  # far more than the tokens of any real text hold
_FALLBACK_LIMIT = 512  # for a tokenizer and a config that both state none
_NO_LIMIT = 10**9  # tokenizers without a limit state one of thirty digits


@dataclass(frozen=True)
class Encoded:
    """Token ids of some texts, without padding.

    Attributes:
        ids: one list of token ids a text.
        truncated: whether the text was longer than the limit and lost its end.
    """

    ids: list[list[int]]
    truncated: list[bool]


def prepare_tokenizer(tokenizer: Any) -> Any:
    """The tokenizer, with a pad token where it has a token that can be one, and a limit that is a number."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if stated_limit(tokenizer.model_max_length) is None:  # whatever else it says, libraries compare numbers with it
        tokenizer.model_max_length = VERY_LARGE_INTEGER
    return tokenizer


def encode(tokenizer: Any, texts: Sequence[str], limit: int) -> Encoded:
    """Token ids of the texts, each cut to `limit` tokens.

    Of a text with far more characters than such tokens can hold, the rest is not even looked at.
    """
    longest = limit * _CHARACTERS_PER_TOKEN
    # Of the end that is kept: a victim that reads less than its guard reads a part of what the guard reads.
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
    # A limit below the number of special tokens is none to a tokenizer.
    return Encoded([row[len(row) - limit :] if left and len(row) > limit else row[:limit] for row in ids], truncated)


def encode_each(tokenizer: Any, texts: Sequence[str], limit: int) -> tuple[Encoded, list[str | None]]:
    """As `encode`, and why a text has no ids; one that the tokenizer fails on takes no others with it."""
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
    """Whether two tokenizers cut every text into the same tokens, at the same end when it is too long."""
    return bool(_rules(left) == _rules(right)) and _read(left) == _read(right)


def _read(tokenizer: Any) -> list[list[int] | None]:
    """What it makes of some texts: rules say nothing of tokenizers in Python, nor of settings outside of them."""
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
            read.append(None)  # a tokenizer that knows no such letters
    return read


def _rules(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return type(tokenizer), tokenizer.truncation_side, tokenizer.get_vocab()
    rules = json.loads(backend.to_str())
    # Set anew by every call, so they say nothing of the tokenizer.
    return tokenizer.truncation_side, {
        key: value for key, value in rules.items() if key not in ("truncation", "padding")
    }


def position_limit(network: Any, tokenizer: Any) -> int:
    """Tokens that a transformers network reads: the smallest limit that its config and its tokenizer state.

    A limit of no size (none, 0, a negative number, infinity, 1e30) is how files say that there is none.
    """
    config = network.config.get_text_config()
    positions = stated_limit(getattr(config, "max_position_embeddings", None))
    stated = [stated_limit(tokenizer.model_max_length), positions and positions - _positions_lost(network)]
    return min((limit for limit in stated if limit is not None), default=_FALLBACK_LIMIT)


def stated_limit(value: object) -> int | None:
    """The number of tokens that a file states, or None where it states no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < _NO_LIMIT:
        return None
    return int(value)


def _positions_lost(network: Any) -> int:
    """Positions that texts cannot have: networks such as RoBERTa's count from their padding's position on."""
    from torch import nn

    for name, module in network.named_modules():
        if (
            name.endswith("position_embeddings")
            and isinstance(module, nn.Embedding)
            and module.padding_idx is not None
        ):
            return module.padding_idx + 1
    return 0
