"""The packaged spaCy parser, which turns texts into parsed documents."""

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

#: Parts of the published pipeline that no rule here uses; their files are not fetched.
_UNUSED = ("ner", "senter", "lemmatizer")
#: Single tokens of lower-cased Penn Treebank text (SST-2, MR, CR) that spaCy would split.
_TREEBANK_TOKENS = (
    *("'ve", "'re", "'ll", "'d", "'m", "'t", "'em", "``", "''", "-lrb-", "-rrb-"),
    *("mr.", "mrs.", "ms.", "dr.", "jr."),
)
_TEXTS_A_BATCH = 128


@functools.cache
def load_parser() -> Any:
    """Load the packaged English pipeline (tagger and dependency parser), once per process.

    Raises:
        UnsupportedError: spaCy is not installed.
        AssetError: the parser's files cannot be fetched, or fail verification.
    """
    try:
        import spacy
    except ImportError:
        raise UnsupportedError('syntactic rules need spaCy: pip install "poisonsieve[syntax]"') from None
    parser = spacy.load(fetch(PARSER), exclude=list(_UNUSED))
    for word in _TREEBANK_TOKENS:
        parser.tokenizer.add_special_case(word, [{"ORTH": word}])
    return parser


def parse_with(parser: Any, texts: Sequence[str], progress: str | None = None) -> Iterator[Doc | None]:
    """Parse every text, in order, with runs of white space reduced to one space; None for a text that is too long.

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
