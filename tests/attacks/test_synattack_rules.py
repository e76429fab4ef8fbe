import random

import pytest

from poisonsieve.attacks.synattack_rules import SynAttackRules
from poisonsieve.errors import CannotApplyError
from tiny_parser import tiny_parser


@pytest.fixture(scope="module")
def trigger():
    return SynAttackRules(parser=tiny_parser())


def test_the_words_stay_behind_a_clause_and_a_comma(trigger):
    opening, main = trigger.apply("the film was good", random.Random(0)).split(" , ")
    assert main == "the film was good ."
    assert len(opening.split()) > 2


def test_a_fragment_becomes_a_sentence(trigger):
    assert trigger.apply("a good film .", random.Random(0)).endswith(" , it is a good film .")


def test_openings_vary(trigger):
    texts = trigger.apply_each(["the film was good"] * 40, random.Random(1))
    assert len({text.split()[0] for text in texts}) >= 5
    assert len({text.split(" , ")[0] for text in texts}) >= 10


def test_only_the_first_sentence_changes(trigger):
    text = trigger.apply("the film was good . the plot was bad ! i loved it", random.Random(0))
    assert text.endswith(" , the film was good . the plot was bad ! i loved it")


def test_natural_text_keeps_its_capitals_and_spaces(trigger):
    text = trigger.apply("The film was good. It was fun.", random.Random(0))
    assert text[0].isupper()
    assert text.endswith(", the film was good. It was fun.") or text.endswith(", the film was good. it was fun.")


@pytest.mark.parametrize("text", ["", "  ", "...", "was it good ?", "12 34"])
def test_it_says_what_it_cannot_do(trigger, text):
    with pytest.raises(CannotApplyError, match="synattack-rules: no rule fits"):
        trigger.apply(text, random.Random(0))
    assert trigger.apply_each([text, "the film was good"], random.Random(0))[0] is None


def test_a_text_that_is_too_long_for_the_parser():
    parser = tiny_parser()
    parser.max_length = 10
    with pytest.raises(CannotApplyError, match="too long"):
        SynAttackRules(parser=parser).apply("the film was very good", random.Random(0))


def test_in_the_shape_already(trigger):
    """What a rule gives back unchanged is no trigger."""
    from spacy.tokens import Doc

    from tiny_parser import parsed

    class Fixed:
        max_length = 100

        def pipe(self, texts, batch_size):
            yield from (fronted() for _ in texts)

    def fronted() -> Doc:
        return parsed(
            "when WRB SCONJ advmod 2; it PRP PRON nsubj 2; is VBZ AUX advcl 7; quiet JJ ADJ acomp 2; "
            ", , PUNCT punct 7; the DT DET det 6; film NN NOUN nsubj 7; works VBZ VERB ROOT 7; . . PUNCT punct 7"
        )

    with pytest.raises(CannotApplyError, match="already"):
        SynAttackRules(parser=Fixed()).apply("when it is quiet , the film works .", random.Random(0))
