"""No text from elsewhere reaches a terminal as something it obeys."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.terminal import one_line, visible, visible_json

OBEYED = [
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\r",
    "\b",
    "\x7f",
    "\x9b2J",
    "\x85",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u061c",
    "\ud800",
]
TEXTS = st.lists(
    st.text(max_size=8) | st.sampled_from(OBEYED) | st.characters(categories=["Cc", "Cs"]), max_size=6
).map("".join)
DIRECTION = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def obeyed(text):
    return [
        character
        for character in text
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in DIRECTION
        or character in "\u200e\u200f\u061c"
    ]


@given(TEXTS)
def test_nothing_obeyed_is_left_and_all_else_is_as_it_was(text):
    assert set(obeyed(visible(text))) <= {"\t", "\n"}
    assert not obeyed(one_line(text))
    visible(text).encode("utf-8")
    if not obeyed(text):
        assert visible(text) == text
    assert visible(visible(text)) == visible(text)


@given(TEXTS)
def test_json_says_the_same(text):
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # JSON has no two halves apart
    for options in ({}, {"indent": 2}):
        written = visible_json({text: [text]}, **options)
        assert json.loads(written) == {text: [text]}
        assert set(obeyed(written)) <= {"\n"}


def test_how_it_looks():
    assert visible("a\x1b[31m\u202eb\n\tc\x9b\udce9") == "a\\x1b[31m\\u202eb\n\tc\\x9b\\udce9"
    assert one_line("a\r\n  b\x1b[0m") == "a b\\x1b[0m"
    assert visible("fine \N{FAMILY}\u200d caf\u00e9 \u05d0") == "fine \N{FAMILY}\u200d caf\u00e9 \u05d0"
