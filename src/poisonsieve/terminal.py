"""Printing untrusted text, such as class names, library messages and paths, safely on a terminal.

A terminal interprets what it prints. An escape code in such a text can move the cursor, hide lines or rewrite earlier
output, and a bidirectional override can make one name look like another. So each such character is shown escaped.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: Control characters except tab and line feed, bidirectional overrides and isolates, separators at which some terminals
#: break lines, and lone surrogates, which UTF-8 cannot encode.
_OBEYED = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_OBEYED_OUTSIDE_ASCII = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Escape special characters: ``\x1b`` for an escape, ``\u202e`` for an override, etc. Tabs and line feeds stay."""
    return _OBEYED.sub(lambda found: _escaped(found[0], r"\x{:02x}"), text)


def one_line(text: object) -> str:
    """Return the text as one line, with white space reduced to single spaces and the rest `visible`."""
    return visible(" ".join(str(text).split()))


def visible_json(value: Any, **options: Any) -> str:
    """Dump as JSON without ASCII escapes, except for characters that a terminal interprets."""
    written = json.dumps(value, ensure_ascii=False, **options)
    return _OBEYED_OUTSIDE_ASCII.sub(lambda found: _escaped(found[0], r"\u{:04x}"), written)


def _escaped(character: str, narrow: str) -> str:
    return (narrow if ord(character) < 0x100 else r"\u{:04x}").format(ord(character))
