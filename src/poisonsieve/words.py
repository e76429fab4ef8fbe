"""Finding the words of a text, in scripts written with and without spaces.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan put no space between words, so that a whole sentence is one
"word" between white space. Each letter of these scripts, with its marks, counts as a word here. That needs no
dictionary, and works for a trigger that no dictionary has. A word in Latin letters in the middle of such a text is a
word of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

#: Letters and digits of scripts without spaces, and the punctuation written with them.
_LETTERS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u2e80-\u2fdf\u3001-\u30ff\u3105-\u312f\u3190-\u319f\u31a0-\u31ff"  # radicals, kana, Bopomofo; marks such as \u3002
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff9f"  # full-width punctuation, half-width kana
)
#: Vowel signs, tones and other marks that belong to the letter before them.
_MARKS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"
    "\u0f18\u0f19\u0f35\u0f37\u0f39\u0f3e\u0f3f\u0f71-\u0f84\u0f86\u0f87\u0f8d-\u0fbc\u0fc6"
    "\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d\u108f\u109a-\u109d"
    "\u17b4-\u17d3\u17dd\u3099\u309a\uff9e\uff9f\ufe00-\ufe0f\U000e0100-\U000e01ef"
)
_WORD = re.compile(rf"(?P<letter>[{_LETTERS}][{_MARKS}]*)|[^\s{_LETTERS}]+")

_UNSEEN = frozenset(("Zs", "Zl", "Zp", "Cc", "Cf"))


def find_words(text: str) -> Iterator[re.Match[str]]:
    """Find the words of a text: what is between white space, and each letter of a script written without spaces.

    The group `letter` of a match tells which of the two it is.
    """
    return _WORD.finditer(text)


def is_blank(text: str) -> bool:
    """Tell whether a text shows nothing: no character, or only white space, control and format characters."""
    return not text.strip() or all(unicodedata.category(character) in _UNSEEN for character in text)
