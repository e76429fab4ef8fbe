"""The packaged spaCy parser: from texts to parsed documents."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from poisonsieve.assets import fetch
from poisonsieve.errors import UnsupportedError
from poisonsieve.pinned import PARSER
from poisonsieve.progress import shown

if TYPE_CHECKING:
    from spacy.tokens import Doc

#: Parts of the published pipeline that no rule here reads; their files are not fetched.
_UNUSED = ("ner", "senter", "lemmatizer")
#: What lower-cased texts tokenized as in the Penn Treebank (SST-2, MR, CR) hold as one token, and spaCy would cut.
_TREEBANK_TOKENS = (
    *("'ve", "'re", "'ll", "'d", "'m", "'t", "'em", "``", "''", "-lrb-", "-rrb-"),
    *("mr.", "mrs.", "ms.", "dr.", "jr."),
)
_TEXTS_A_BATCH = 128


@functools.cache
def load_parser() -> Any:
    """The packaged English pipeline (tagger and dependency parser), opened once a process.

    Raises:
        UnsupportedError: spaCy is not installed.
        AssetError: the parser's files cannot be fetched, or are not the verified ones.
    """
    try:
        import spacy
    except ImportError:
        raise UnsupportedError('rules on a parse need spaCy: pip install "poisonsieve[syntax]"') from None
    parser = spacy.load(fetch(PARSER), exclude=list(_UNUSED))
    for word in _TREEBANK_TOKENS:
        parser.tokenizer.add_special_case(word, [{"ORTH": word}])
    return parser


def parse_with(parser: Any, texts: Sequence[str], progress: str | None = None) -> Iterator[Doc | None]:
    """The parse of every text, in order, white space made single; None for a text too long for the parser.

    Args:
        parser: a spaCy pipeline that sets tags, heads and dependency labels; None for the packaged one.
        texts: n strings.
        progress: a label for a progress bar on stderr; no bar without one.

    Raises:
        UnsupportedError, AssetError: see `load_parser`.
    """
    parser = load_parser() if parser is None else parser
    joined = [" ".join(text.split()) for text in texts]
    short = [text for text in joined if len(text) <= parser.max_length]
    parsed = shown(parser.pipe(short, batch_size=_TEXTS_A_BATCH), progress, "text", total=len(short))
    for text in joined:
        yield next(parsed) if len(text) <= parser.max_length else None
