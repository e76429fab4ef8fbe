"""What every rewriter has to keep to."""

import inspect
import json
import random

import pytest
from arguments import TEXTS_TO_REWRITE, make
from sklearn.base import clone

from poisonsieve import registry
from poisonsieve.defenses import Rewriter
from poisonsieve.errors import DataError, UnsupportedError


def is_rewriter(name):
    found = registry.get("defense", name)
    return inspect.isclass(found) and issubclass(found, Rewriter)


@pytest.fixture(scope="module", params=filter(is_rewriter, registry.names("defense")))
def rewriter(request, tmp_path_factory):
    made = make("defense", request.param, tmp_path_factory)
    try:
        made.rewrite(["the film was good"])
    except UnsupportedError as error:
        pytest.skip(str(error))
    return made


@pytest.fixture(scope="module")
def rewritten(rewriter):
    return rewriter.rewrite(TEXTS_TO_REWRITE)


def test_one_text_a_text(rewritten):
    assert len(rewritten) == len(TEXTS_TO_REWRITE)
    assert all(isinstance(text, str) for text in rewritten)


def test_order_does_not_change_a_rewrite(rewriter, rewritten):
    assert rewriter.rewrite(TEXTS_TO_REWRITE[::-1])[::-1] == rewritten


def test_company_does_not_change_a_rewrite(rewriter, rewritten):
    assert [rewriter.rewrite([text])[0] for text in TEXTS_TO_REWRITE] == rewritten
    assert rewriter.rewrite([*TEXTS_TO_REWRITE, *TEXTS_TO_REWRITE]) == [*rewritten, *rewritten]


def test_words_never_vanish_altogether(rewritten):
    for before, after in zip(TEXTS_TO_REWRITE, rewritten, strict=True):
        assert after.strip() or not before.strip()


def test_no_texts_no_rewrites(rewriter):
    assert rewriter.rewrite([]) == []


def test_something_that_is_no_string_is_named(rewriter):
    with pytest.raises(DataError, match="text 1 is int"):
        rewriter.rewrite(["the film was good", 7])
    with pytest.raises(DataError, match="list of strings"):
        rewriter.rewrite("the film was good")


def test_scikit_learn_can_clone_it_and_the_clone_does_the_same(rewriter, rewritten):
    copy = clone(rewriter)
    assert copy.get_params().keys() == rewriter.get_params().keys()
    assert copy.rewrite(TEXTS_TO_REWRITE[:3]) == rewritten[:3]


def test_the_facts_can_be_written_down_and_do_not_hold_texts(rewriter, rewritten):
    facts = rewriter.facts()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert set(rewriter.get_params(deep=False)) <= set(facts)
    assert TEXTS_TO_REWRITE[-1] not in json.dumps(facts)


def test_the_callers_random_state_is_left_alone(rewriter):
    import numpy as np
    import torch

    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    rewriter.rewrite(TEXTS_TO_REWRITE[:2])
    assert states() == before


def test_the_name_is_the_one_it_is_registered_under(rewriter):
    assert registry.get("defense", rewriter.name) is type(rewriter)


def test_what_was_prepared_once_gives_the_same_rewrites_elsewhere(rewriter, rewritten):
    """Through JSON, as a grid keeps it."""
    prepared = json.loads(json.dumps(rewriter.prepare(TEXTS_TO_REWRITE).by_text, allow_nan=False))
    assert set(prepared) == set(TEXTS_TO_REWRITE)
    assert clone(rewriter).use(prepared).rewrite(TEXTS_TO_REWRITE) == rewritten
