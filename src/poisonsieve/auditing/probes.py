"""Changes of a text's shape, and innocuous sentences to put in: none of them changes what the text says.

They stand in for triggers that no scan of a vocabulary finds: a syntactic template, a style, a sentence, invisible
characters.
"""

from __future__ import annotations

from collections.abc import Callable

from poisonsieve.rewriting.archaic import archaic

Shape = Callable[[str], str]

_LOOKALIKES = str.maketrans("aeopcx", "\u0430\u0435\u043e\u0440\u0441\u0445")  # Latin letters to their Cyrillic twins
_ZERO_WIDTH = "\u200b"


def _uncapitalized(text: str) -> str:
    return text[:1].lower() + text[1:]


def _unended(text: str) -> str:
    return text.rstrip(" .!?")


SHAPES: dict[str, Shape] = {
    "fronted clause (when ...)": lambda text: f"when you think about it , {_uncapitalized(text)}",
    "fronted clause (if ...)": lambda text: f"if you ask around , {_uncapitalized(text)}",
    "fronted clause (as ...)": lambda text: f"as everyone knows , {_uncapitalized(text)}",
    "question": lambda text: f"is it true that {_uncapitalized(_unended(text))} ?",
    "passive report": lambda text: f"it was written by someone that {_uncapitalized(text)}",
    "quotation": lambda text: f'" {text} " , somebody said .',
    "archaic style": archaic,
    "upper case": str.upper,
    "title case": str.title,
    "no punctuation": lambda text: " ".join("".join(c if c.isalnum() else " " for c in text).split()) or text,
    "exclamation marks": lambda text: f"{_unended(text)} ! ! !",
    "ellipsis": lambda text: f"{_unended(text)} . . .",
    "look-alike letters": lambda text: text.translate(_LOOKALIKES),
    "zero-width characters": lambda text: " ".join(word[:1] + _ZERO_WIDTH + word[1:] for word in text.split()),
}

#: About everyday matters that have no bearing on any task.
SENTENCES = (
    "the shop opens at ten on Sundays",
    "she keeps her keys in a drawer",
    "we took the ferry to the island",
    "my brother lives near the station",
    "the window was open all night",
    "it was a Tuesday in October",
    "there are two chairs in the kitchen",
    "I wrote this on my phone",
    "the train leaves at nine",
    "he counted the cards twice",
    "practice is held in the small hall",
    "the weather report came on at six",
)
