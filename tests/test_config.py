"""Specs refuse what they do not know and name a result by all that decides it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve import registry
from poisonsieve.attacks import make_trigger
from poisonsieve.bench.entries import AttackEntry
from poisonsieve.config import AttackSpec, PoisoningSpec, TriggerSpec, TuneSpec, make_spec
from poisonsieve.errors import ConfigError
from poisonsieve.tuning import tune_spec


def test_an_unknown_key_is_refused_by_name():
    with pytest.raises(ConfigError, match="learning_rat"):
        make_spec(TuneSpec, method="lora", epochs=1, learning_rat=1e-3)


@pytest.mark.parametrize(
    "values", [{"epochs": 0}, {"learning_rate": -1.0}, {"method": "lorra"}, {"precision": "fp8"}]
)
def test_a_value_out_of_range_is_refused_by_name(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        make_spec(TuneSpec, **{"method": "lora", "epochs": 1, "learning_rate": 1e-3, **values})


def test_the_digest_depends_on_every_value_and_not_on_order():
    one = TuneSpec(method="lora", epochs=1, learning_rate=1e-3)
    same = TuneSpec(learning_rate=1e-3, epochs=1, method="lora")
    assert one.digest() == same.digest()
    others = [one.model_copy(update={"seed": 1}), one.model_copy(update={"lora_rank": 4})]
    assert len({spec.digest() for spec in [one, *others]}) == 3


def test_an_argument_that_stands_twice_is_refused():
    with pytest.raises(ConfigError, match="word stands twice; one value would hide another"):
        TriggerSpec.parse("badnet:word=cf, word=mn")


ALIASED = [
    (TriggerSpec, "badnets:word=cf", "badnet:word=cf"),
    (TriggerSpec, "addsent", "insent"),
    (TriggerSpec, "synbkd", "synattack-rules"),
    (TriggerSpec, "hiddenkiller", "synattack-rules"),
    (TriggerSpec, "multi:of=badnets+addsent", "multi:of=badnet+insent"),
    (PoisoningSpec, "ripples:strength=0.2,words=5", "ripple:strength=0.2,words=5"),
    (PoisoningSpec, "lwp", "layerwise"),
]


@pytest.mark.parametrize(("kind", "alias", "own"), ALIASED)
def test_an_alias_makes_the_same_spec(kind, alias, own):
    made, same = kind.parse(alias), kind.parse(own)
    assert made == same
    assert made.digest() == same.digest()
    assert kind(name=alias.partition(":")[0], params=same.params) == same
    assert registry.own_text(kind.registered_as, alias) == own
    assert AttackEntry(trigger=alias if kind is TriggerSpec else "badnet", poisoning="full") == AttackEntry(
        trigger=own if kind is TriggerSpec else "badnet", poisoning="full"
    )


@given(st.text(max_size=30) | st.text("abmu,:=+ -", max_size=12).map("multi:of=".__add__))
def test_a_text_without_an_alias_stays_as_it_is(text):
    if not {"badnets", "addsent", "synbkd", "hiddenkiller"} & set(re.split("[:=,+ ]", text)):
        assert registry.own_text("attack", text) == text


def test_a_form_that_the_alias_cannot_have_names_the_one_that_can():
    with pytest.raises(ConfigError, match=r"hiddenkiller or synbkd you may mean synattack-file \(file, original\)"):
        make_trigger("synbkd:path=rows.tsv")


def test_specs_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        AttackSpec(trigger=TriggerSpec(name="badnet"), count=1).count = 2


def test_narrow_models_get_a_higher_rate_than_wide_ones():
    rates = [tune_spec("full", hidden_size=width).learning_rate for width in (384, 768, 1024)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 2e-5


def test_the_papers_preset():
    spec = tune_spec("p_tuning_v1", hidden_size=384, preset="paper")
    assert (spec.learning_rate, spec.epochs, spec.batch_size) == (2e-3, 20, 32)
    assert tune_spec("full", hidden_size=384, preset="paper").learning_rate == 2e-5


def test_what_the_user_sets_wins():
    spec = tune_spec("lora", hidden_size=384, learning_rate=3e-4, epochs=None)
    assert spec.learning_rate == 3e-4
    assert spec.epochs == 3
