"""Tokens: how many of a text are read, and whether two tokenizers make the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

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
