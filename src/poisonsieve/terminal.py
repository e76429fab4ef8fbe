"""Text from elsewhere on a terminal: a checkpoint's class names, a library's message, a path.

A terminal obeys what it prints. An escape code in such a text can move the cursor, hide lines or rewrite what was said
before, and an override of the direction of writing can show a name as another. So each such character is shown instead.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: Control characters but tab and line feed, what overrides or isolates a direction of writing, separators that some
#: terminals break lines at, and lone surrogates, which UTF-8 has no bytes for.
_OBEYED = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_OBEYED_OUTSIDE_ASCII = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""The text with ``\x1b`` for an escape, ``\u202e`` for an override, and so on. Tabs and line feeds stay."""
    return _OBEYED.sub(lambda found: _escaped(found[0], r"\x{:02x}"), text)


def one_line(text: object) -> str:
    """The text as one line: each stretch of white space is a space, and the rest is `visible`."""
    return visible(" ".join(str(text).split()))


def visible_json(value: Any, **options: Any) -> str:
    """`json.dumps` in the characters of the texts, but for those that a terminal obeys: JSON has an escape for each."""
    written = json.dumps(value, ensure_ascii=False, **options)
    return _OBEYED_OUTSIDE_ASCII.sub(lambda found: _escaped(found[0], r"\u{:04x}"), written)


def _escaped(character: str, narrow: str) -> str:
    return (narrow if ord(character) < 0x100 else r"\u{:04x}").format(ord(character))
