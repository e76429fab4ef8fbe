"""The rules on parses that are written out, as the packaged parser gives them."""

import sys

import pytest

from poisonsieve.errors import UnsupportedError
from poisonsieve.rewriting.clauses import compose, declare, is_balanced, sentences, to_text
from poisonsieve.rewriting.fronting import RULES, front
from poisonsieve.rewriting.spacy_parser import load_parser, parse_with
from template import matches_template
from tiny_parser import parsed, tiny_parser

FILM_WORKS = "the DT DET det 1; film NN NOUN nsubj 2; works VBZ VERB ROOT 2"
FRONTED = (
    "when WRB SCONJ advmod 2; it PRP PRON nsubj 2; is VBZ AUX advcl 7; quiet JJ ADJ acomp 2; , , PUNCT punct 7; "
    "the DT DET det 6; film NN NOUN nsubj 7; works VBZ VERB ROOT 7; . . PUNCT punct 7"
)
TRAILING = (
    f"{FILM_WORKS}; when WRB SCONJ advmod 5; it PRP PRON nsubj 5; is VBZ AUX advcl 2; quiet JJ ADJ acomp 5; "
    ". . PUNCT punct 2"
)
JOINED = (
    "the DT DET det 1; plot NN NOUN nsubj 2; is VBZ AUX ROOT 2; thin JJ ADJ acomp 2; {} CC CCONJ cc 2; "
    "the DT DET det 6; cast NN NOUN nsubj 7; shines VBZ VERB conj 2; . . PUNCT punct 2"
)
SHARED_SUBJECT = (
    "a DT DET det 3; very RB ADV advmod 2; long JJ ADJ amod 3; film NN NOUN nsubj 4; drags VBZ VERB ROOT 4; "
    "and CC CCONJ cc 4; ends VBZ VERB conj 4; badly RB ADV advmod 6; . . PUNCT punct 4"
)
PARTICIPLE = (
    "bolstered VBN VERB advcl 7; by IN ADP agent 0; its PRP$ PRON poss 3; cast NN NOUN pobj 1; , , PUNCT punct 7; "
    "the DT DET det 6; film NN NOUN nsubj 7; works VBZ VERB ROOT 7; . . PUNCT punct 7"
)
DESPITE = (
    "despite IN SCONJ prep 6; its PRP$ PRON poss 2; flaws NNS NOUN pobj 0; , , PUNCT punct 6; the DT DET det 5; "
    "film NN NOUN nsubj 6; works VBZ VERB ROOT 6; . . PUNCT punct 6"
)
OPINION = (
    "i PRP PRON nsubj 1; think VBP VERB ROOT 1; the DT DET det 3; film NN NOUN nsubj 4; works VBZ VERB ccomp 1; "
    ". . PUNCT punct 1"
)
DOUBT = (
    "i PRP PRON nsubj 3; do VBP AUX aux 3; n't RB PART neg 3; think VB VERB ROOT 3; the DT DET det 5; "
    "film NN NOUN nsubj 6; works VBZ VERB ccomp 3; . . PUNCT punct 3"
)
RELATIVE = (
    "a DT DET det 2; fine JJ ADJ amod 2; film NN NOUN ROOT 2; that WDT PRON nsubj 4; takes VBZ VERB relcl 2; "
    "risks NNS NOUN dobj 4; . . PUNCT punct 2"
)
TWO_ADJECTIVES = (
    "the DT DET det 1; film NN NOUN nsubj 2; is VBZ AUX ROOT 2; warm JJ ADJ acomp 2; and CC CCONJ cc 3; "
    "funny JJ ADJ conj 3; . . PUNCT punct 2"
)
TWO_NOUNS = (
    "a DT DET det 2; fine JJ ADJ amod 2; film NN NOUN ROOT 2; , , PUNCT punct 2; a DT DET det 6; real JJ ADJ amod 6; "
    "treat NN NOUN appos 2; . . PUNCT punct 2"
)
QUESTION = "why WRB SCONJ advmod 3; does VBZ AUX aux 3; it PRP PRON nsubj 3; work VB VERB ROOT 3; ? . PUNCT punct 3"
NATURAL = (
    "The DT DET det 1; film NN NOUN nsubj 2; works VBZ VERB ROOT 2; , , PUNCT punct 2; because IN SCONJ mark 6; "
    "it PRP PRON nsubj 6; is VBZ AUX advcl 2; quiet JJ ADJ acomp 6; . . PUNCT punct 2; It PRP PRON nsubj 10; "
    "is VBZ AUX ROOT 10; short JJ ADJ acomp 10; . . PUNCT punct 10"
)


def first(rows):
    return sentences(parsed(rows))[0]


@pytest.mark.parametrize(
    ("rows", "rule", "opening", "main"),
    [
        (FRONTED, "kept", "when it is quiet", "the film works"),
        (TRAILING, "subordinate", "when it is quiet", "the film works"),
        (JOINED.format("but"), "conjunct", "although the plot is thin", "the cast shines"),
        (JOINED.format("and"), "conjunct", "as the plot is thin", "the cast shines"),
        (SHARED_SUBJECT, "conjunct", "as a very long film drags", "it ends badly"),
        (PARTICIPLE, "adjunct", "as it is bolstered by its cast", "the film works"),
        (DESPITE, "preposition", "although it has its flaws", "the film works"),
        (OPINION, "opinion", "as i think", "the film works"),
        (RELATIVE, "description", "as it takes risks", "it is a fine film"),
        (TWO_ADJECTIVES, "predicate", "as the film is warm", "the film is funny"),
        (TWO_NOUNS, "fragment", "as it is a fine film", "it is a real treat"),
        (f"{FILM_WORKS}; . . PUNCT punct 2", "frame", "if one looks closely", "the film works"),
    ],
)
def test_each_rule(rows, rule, opening, main):
    found = front(first(rows))
    assert (found.rule, found.main) == (rule, main)
    assert opening in found.openings


def test_every_rule_has_a_case_above():
    (mark,) = (mark for mark in test_each_rule.pytestmark if mark.name == "parametrize")
    assert {case[1] for case in mark.args[1]} == set(RULES)


def test_contrast_is_kept_and_an_alternative_is_no_reason():
    assert not {"because", "since", "as"} & {
        opening.split()[0] for opening in front(first(JOINED.format("but"))).openings
    }
    assert front(first(JOINED.format("or"))).rule == "frame"


def test_no_subordinator_is_constant():
    for rows in (JOINED.format("and"), PARTICIPLE, DESPITE, RELATIVE, f"{FILM_WORKS}; . . PUNCT punct 2"):
        assert len({opening.split()[0] for opening in front(first(rows)).openings}) >= 3


def test_a_denied_opinion_is_not_fronted():
    assert front(first(DOUBT)).main == "i do n't think the film works"


def test_a_question_has_no_such_form():
    assert front(first(QUESTION)) is None
    assert declare(first(QUESTION)) is None


def test_the_template_is_recognised():
    assert matches_template(parsed(FRONTED))
    for rows in (TRAILING, PARTICIPLE, DESPITE, QUESTION, RELATIVE):
        assert not matches_template(parsed(rows))


def test_the_template_wants_its_comma_and_its_full_stop():
    assert not matches_template(parsed(FRONTED.replace(", , PUNCT", "so RB ADV")))
    assert not matches_template(parsed(FRONTED.replace(". . PUNCT", "! . PUNCT")))
    assert not matches_template(tiny_parser()(""))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (FRONTED, "the film works when it is quiet"),
        (DESPITE, "the film works despite its flaws"),
        (PARTICIPLE, "the film works , bolstered by its cast"),
        (RELATIVE, "it is a fine film that takes risks"),
        ("combines VBZ VERB ROOT 0; wit NN NOUN dobj 0; . . PUNCT punct 0", "it combines wit"),
        ("fine JJ ADJ amod 1; films NNS NOUN ROOT 1", "they are fine films"),
        ("see VB VERB ROOT 0; it PRP PRON dobj 0; ! . PUNCT punct 0", "you should see it"),
        (
            "do VB AUX aux 2; n't RB PART neg 2; see VB VERB ROOT 2; it PRP PRON dobj 2; . . PUNCT punct 2",
            "you should not see it",
        ),
        (
            f"but CC CCONJ cc 3; {FILM_WORKS.replace('1;', '2;').replace('2; works', '3; works')[:-1]}3",
            "the film works",
        ),
    ],
)
def test_plain_statements(rows, said):
    assert declare(first(rows)) == said


def test_capitals_and_marks_are_set_as_the_writer_sets_them():
    doc = parsed(NATURAL, glued=True)
    parts = sentences(doc)
    found = front(parts[0])
    assert [to_text(part) for part in parts][1] == "it is short."
    assert compose(parts[0], found.openings[0], found.main) == "Because it is quiet, the film works."
    assert compose(first(TRAILING), "when it is quiet", "the film works") == "when it is quiet , the film works ."


def test_what_opens_has_to_close():
    def tokens(text):
        return list(tiny_parser()(text))

    assert is_balanced(tokens('a " good " ( fine ) film'))
    assert not is_balanced(tokens("a ) film ("))
    assert not is_balanced(tokens('a " film'))


def test_without_spacy_it_says_what_to_install(monkeypatch):
    load_parser.cache_clear()
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(UnsupportedError, match=r'pip install "poisonsieve\[syntax\]"'):
        load_parser()


def test_texts_are_parsed_in_order_and_one_that_is_too_long_is_none():
    parser = tiny_parser()
    parser.max_length = 20
    docs = list(parse_with(parser, ["a\tgood \n film", "film " * 20, "", "warm"]))
    assert [doc and doc.text for doc in docs] == ["a good film", None, docs[2], "warm"]
    assert len(docs[2]) == 0
