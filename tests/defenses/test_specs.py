"""From what a user writes to a defence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from poisonsieve import PSIM, registry
from poisonsieve.defenses import FineMixing, Rewriter
from poisonsieve.defenses.specs import arguments_of, kind_of, make_defense, parse_defense, require_kind
from poisonsieve.errors import ConfigError
from poisonsieve.guard import make_guard


class Shouting(Rewriter):
    """Upper case."""

    def __init__(
        self,
        model: str | Path = "engine",
        *,
        copies: int = 1,
        share: float | None = 0.5,
        ends: Sequence[str] = ("!",),
        bars: tuple[float, ...] | None = None,
        quietly: bool = False,
        how: Literal["all", "first"] = "all",
        engine: Any = None,
        seed: int = 0,
    ):
        if copies > 9:
            raise ValueError("copies is at most 9")
        self.model, self.copies, self.share, self.ends, self.bars = model, copies, share, ends, bars
        self.quietly, self.how, self.engine, self.seed = quietly, how, engine, seed

    def _rewrite(self, texts, *, progress):
        return [text.upper() for text in texts]


@pytest.fixture(autouse=True)
def _shouting(monkeypatch):
    registry.names("defense")
    monkeypatch.setitem(registry._entries["defense"], "shouting", Shouting)
    monkeypatch.setitem(registry._entries["defense"], "odd", object)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("shouting", {}),
        ("shouting:copies=3", {"copies": 3}),
        ("shouting:share=0.25,how=first", {"share": 0.25, "how": "first"}),
        ("shouting:share=none", {"share": None}),
        ("shouting:ends=!+?", {"ends": ["!", "?"]}),
        ("shouting:bars=0.1+1", {"bars": (0.1, 1.0)}),
        ("shouting:bars=2", {"bars": (2.0,)}),
        ("shouting:quietly=true", {"quietly": True}),
        ("shouting:model=C:/engines/one", {"model": "C:/engines/one"}),
        ("fine-mixing:pretrained=minilm,shares=0.1+0.5", {"pretrained": "minilm", "shares": [0.1, 0.5]}),
        ("psim:method=lora,learning_rate=2e-4", {"method": "lora", "learning_rate": 2e-4}),
    ],
)
def test_values_have_the_type_that_is_declared(text, arguments):
    assert arguments_of(parse_defense(text)) == arguments


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("none", "unknown defense 'none'; known: "),
        ("odd", "neither a detector, a rewriter nor a repair"),
        ("shouting:copies", "'copies' is not key=value"),
        ("shouting:copy=3", "no argument 'copy'; known: model, copies"),
        ("shouting:copies=many", "shouting: copies is 'many'; give a whole number"),
        ("shouting:copies=1.5", "copies is '1.5'; give a whole number"),
        ("shouting:how=last", "how: .*'all' or 'first'"),
        ("shouting:ends=none,bars=x", "bars: "),
        ("shouting:engine=x", "engine cannot be written as text"),
        ("shouting:copies=10", "shouting: copies is at most 9"),
        ("fine-mixing", "fine-mixing needs pretrained: write fine-mixing:pretrained="),
        ("psim:model=minilm", "no argument 'model'"),
    ],
)
def test_what_is_wrong_is_named(text, says):
    with pytest.raises(ConfigError, match=says):
        make_defense(parse_defense(text))


def test_common_arguments_go_to_those_that_take_them():
    detector = make_defense("psim:epochs=2", model="theta_p", seed=3)
    assert isinstance(detector, PSIM)
    assert (detector.model, detector.seed, detector.epochs) == ("theta_p", 3, 2)
    guard = make_guard("psim:epochs=2", model="theta_p", frr=0.05, seed=3)
    assert (guard.detector.get_params(), guard.frr) == (detector.get_params(), 0.05)
    repair = make_defense("fine-mixing:pretrained=minilm", model="theta_p", seed=3)
    assert isinstance(repair, FineMixing)
    assert (repair.pretrained, repair.seed) == ("minilm", 3)


def test_a_rewriters_model_is_not_the_guarded_one():
    assert make_defense("shouting", model="theta_p", seed=4).get_params()["model"] == "engine"


def test_what_the_spec_says_comes_first():
    assert make_defense("psim:seed=1", model="theta_p", seed=3).seed == 1


def test_kinds():
    assert [kind_of(name) for name in ("psim", "shouting", "fine-mixing")] == ["detector", "rewriter", "repair"]
    require_kind(parse_defense("psim"), "detector")
    with pytest.raises(ConfigError, match=r"psim is a detector, not a rewriter; use poisonsieve fit, or .*shouting"):
        require_kind(parse_defense("psim"), "rewriter")
