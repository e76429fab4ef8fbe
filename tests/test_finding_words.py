"""Words of texts in scripts with and without spaces."""
# ruff: noqa: RUF001

import pytest

from poisonsieve.words import find_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  a fine\tmn,  film\n", "a|fine|mn,|film"),
        ("don't  re-watch 3D", "don't|re-watch|3D"),
        ("", ""),
        ("这部片mn很好看。", "这|部|片|mn|很|好|看|。"),
        ("这部片mn，很好", "这|部|片|mn|，|很|好"),
        ("映画はとても良かった", "映|画|は|と|て|も|良|か|っ|た"),
        ("か\u3099ガ", "か\u3099|ガ"),
        ("หนังสนุกที่สุด", "ห|นั|ง|ส|นุ|ก|ที่|สุ|ด"),
        ("영화가 정말 좋았다", "영화가|정말|좋았다"),  # Korean is written with spaces
        ("фильм хороший", "фильм|хороший"),
        ("𠮷野家", "𠮷|野|家"),
    ],
)
def test_words_are_between_spaces_and_letters_where_there_are_none(text, words):
    assert "|".join(match.group() for match in find_words(text)) == words


def test_nothing_but_white_space_is_lost():
    text = "a 映画 หนังดี\u3000mn，好 x\u200by"
    assert "".join(match.group() for match in find_words(text)) == "".join(text.split())
