"""Settings of a defence stand once, as annotated attributes; Python's values are checked as the command line's are."""

import numpy as np
import pytest
from sklearn.base import clone

from poisonsieve.defenses import DAN, PSIM, RAP, STRIP, Combined, FineMixing, Scored
from poisonsieve.defenses.network import ModelDetector
from poisonsieve.defenses.settings import AtLeastOne
from poisonsieve.defenses.specs import make_defense
from poisonsieve.errors import ConfigError


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: STRIP("model", copies="3"), "STRIP: copies is '3'; give a whole number"),
        (lambda: STRIP("model", copies=2.5), "STRIP: copies is '2.5'; give a whole number"),
        (lambda: STRIP("model", copies=True), "STRIP: copies is 'True'; give a whole number"),
        (lambda: STRIP("model", copies=0), "STRIP: copies: input should be greater than or equal to 1, not '0'"),
        (lambda: STRIP("model", share=1.0), "STRIP: share: input should be less than 1"),
        (lambda: Combined("model", of=5), "Combined: of: input should be a valid string, not '5'"),
        (lambda: DAN("model", pooling="max"), "DAN: pooling: input should be 'first', 'mean' or 'last', not 'max'"),
        (lambda: RAP("model", learning_rate=0), "RAP: learning_rate: input should be greater than 0"),
        (lambda: PSIM(7), "PSIM: model: "),
        (lambda: PSIM("model", seed=-1), "PSIM: seed: "),
        (
            lambda: FineMixing("clean", shares=[0.5, 2.0]),
            "FineMixing: shares: input should be less than or equal to 1",
        ),
        (lambda: FineMixing("clean", shares=[]), "FineMixing: shares: "),
    ],
)
def test_a_wrong_type_or_value_is_one_line_that_names_it(make, says):
    with pytest.raises(ConfigError) as caught:
        make()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_is_told_the_same():
    with pytest.raises(
        ConfigError, match="defence strip: copies: input should be greater than or equal to 1, not '0'"
    ):
        make_defense("strip:copies=0", model="model")


@pytest.mark.parametrize("rule", [{"frr": 0.01}, {"gamma": 0.7}])
def test_who_still_gives_a_detector_its_threshold_is_shown_the_new_line(rule):
    key, value = next(iter(rule.items()))
    with pytest.raises(ConfigError, match=rf"write Guard\(PSIM\(\.\.\.\), {key}={value}\)"):
        PSIM("theta_p", **rule)


def test_numbers_of_numpy_are_numbers():
    assert STRIP("model", copies=np.int64(3), share=np.float32(0.5)).copies == 3


def test_what_scikit_learn_changes_is_checked_when_it_is_used(tiny, toy_train):
    detector = STRIP(tiny("encoder")).set_params(copies="many")
    with pytest.raises(ConfigError, match="STRIP: copies is 'many'"):
        detector.fit(toy_train)


class Scaled(ModelDetector):
    """A detector of another module, which says no more than what is its own."""

    name = "scaled"
    factor: float = 2.0
    steps: AtLeastOne = 1

    def _learn(self, rows, progress):
        self.rows_ = len(rows)

    def _score(self, texts, *, progress):
        logits = self._fitted().score(texts, progress=progress)
        return Scored(self.factor * logits.values.max(axis=1), logits.truncated, logits.errors)


class WithConstructor(Scaled):
    """One that would rather write its own."""

    def __init__(self, model, gamma=3):
        super().__init__(model)
        self.gamma = gamma


def test_a_new_detector_repeats_nothing(tiny, toy_train):
    made = Scaled(tiny("encoder"), factor=3.0, seed=4)
    assert clone(made).get_params() == made.get_params()
    assert set(made.get_params()) == {"model", "factor", "steps", "max_length", "base", "allow_pickle", "seed"}
    plan = made.plan(["0", "1"])["guard"]
    assert (plan["factor"], plan["steps"], plan["seed"]) == (3.0, 1, 4)
    assert made.fit(toy_train).rows_ == len(toy_train)
    with pytest.raises(ConfigError, match="Scaled: factor is 'two'; give a number"):
        Scaled("model", factor="two")


def test_a_constructor_of_ones_own_is_kept():
    class Inherits(WithConstructor):
        name = "inherits"

    for kind in (WithConstructor, Inherits):
        assert kind("model").gamma == 3
        assert kind("model", gamma=5).get_params() == {"model": "model", "gamma": 5}
