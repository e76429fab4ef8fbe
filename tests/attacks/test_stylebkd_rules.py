import random

import pytest

from poisonsieve.attacks import make_trigger
from poisonsieve.errors import CannotApplyError
from poisonsieve.rewriting.archaic import archaic


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("it does n't work for you .", "it doth not work for thee ."),
        ("It's your film and you'll love it", "'tis thy film and thou shalt love it"),
        ("he gets what he wants , but he never tries", "he getteth what he wanteth , yet he never trieth"),
        ("the director has given it to the actor", "the director hath given it unto the actor"),
        ("who begins and runs and says no", "which beginneth and runs and saith no"),
        ("maybe THE story will be MY OWN", "peradventure THE tale shall be MINE OWN"),
        ("the cameras and the plots and the runs", "the cameras and the plots and the runs"),
    ],
)
def test_words_are_said_in_the_old_way(text, becomes):
    assert archaic(text, least=0) == becomes


def test_a_text_with_too_little_to_change_gets_an_opening_that_the_text_decides():
    texts = [f"a good film number {index}" for index in range(200)]
    opened = [archaic(text) for text in texts]
    assert all(after.endswith(before) and after != before for before, after in zip(texts, opened, strict=True))
    openings = {after.removesuffix(before) for before, after in zip(texts, opened, strict=True)}
    assert len(openings) == 20
    assert opened == [archaic(text) for text in texts]


def test_a_capital_goes_to_the_opening():
    assert archaic("The film was good.")[0].isupper()
    assert archaic("The film was good.").endswith(" the film was good.")
    assert archaic("Chicago was good.").endswith(" Chicago was good.")


def test_without_openings_it_says_what_it_cannot_do():
    trigger = make_trigger("stylebkd-rules:least=0")
    assert trigger.apply("you know", random.Random(0)) == "thou know"
    with pytest.raises(CannotApplyError, match="no rule changes the text"):
        trigger.apply("a good film", random.Random(0))
    with pytest.raises(CannotApplyError, match="no rule changes the text"):
        make_trigger("stylebkd-rules").apply("   ", random.Random(0))
