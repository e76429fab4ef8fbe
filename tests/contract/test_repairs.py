"""What every repair of weights has to keep to."""

import inspect
import json
import random

import numpy as np
import pytest
import torch
from sklearn.base import clone

from conftest import make_encoder
from poisonsieve import registry
from poisonsieve.config import TuneSpec
from poisonsieve.defenses import WeightRepair
from poisonsieve.errors import UnsupportedError
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.models.safety import identity_digest
from poisonsieve.tuning import finetune


def is_repair(name):
    found = registry.get("defense", name)
    return inspect.isclass(found) and issubclass(found, WeightRepair)


@pytest.fixture(scope="module", params=filter(is_repair, registry.names("defense")))
def kind(request):
    return registry.get("defense", request.param)


@pytest.fixture(scope="module")
def make(kind, tmp_path_factory):
    """`make(**arguments)` -> the repair, with a clean pre-trained model where it asks for one."""
    clean = make_encoder(tmp_path_factory.mktemp("pretrained") / "model", head=False, seed=5)
    given = {"pretrained": clean} if "pretrained" in inspect.signature(kind).parameters else {}
    return lambda **arguments: kind(**given, **arguments)


@pytest.fixture(scope="module")
def repaired(make, tiny, toy_train, toy_dev):
    return make().repair(tiny("encoder"), toy_train, toy_dev)


def values(classifier, data):
    return classifier.score(data["text"]).values


def test_the_repaired_model_answers(repaired, toy_test):
    classifier, _ = repaired
    assert classifier.label_names == ["0", "1"]
    assert np.isfinite(values(classifier, toy_test)).all()


def test_what_was_chosen_is_said(repaired):
    _, facts = repaired
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["dev_ca"] is not None


def test_saved_and_reopened_it_is_the_same_model(repaired, toy_test, tmp_path, tiny):
    classifier, _ = repaired
    save_classifier(classifier, tmp_path)
    again = load_classifier(tmp_path)
    np.testing.assert_allclose(values(again, toy_test), values(classifier, toy_test), atol=1e-6)
    assert again.label_names == classifier.label_names
    *ancestors, own = again.provenance.origins
    assert own == again.provenance.base_digest
    assert load_classifier(tiny("encoder")).provenance.base_digest in ancestors
    assert own not in ancestors


def test_it_was_changed(repaired, tiny, toy_test):
    classifier, _ = repaired
    assert not np.allclose(values(classifier, toy_test), values(load_classifier(tiny("encoder")), toy_test))


def test_same_seed_same_weights(repaired, make, tiny, toy_train, toy_dev, toy_test):
    classifier, facts = repaired
    before = identity_digest([tiny("encoder")])
    again, said = make().repair(tiny("encoder"), toy_train, toy_dev)
    np.testing.assert_array_equal(values(again, toy_test), values(classifier, toy_test))
    assert said.keys() == facts.keys()
    assert identity_digest([tiny("encoder")]) == before
    other, _ = make(seed=1).repair(tiny("encoder"), toy_train, toy_dev)
    assert not np.allclose(values(other, toy_test), values(classifier, toy_test))


def test_the_callers_random_state_is_left_alone(make, tiny, toy_train, toy_dev):
    states = random.getstate(), torch.get_rng_state().tolist()
    make().repair(tiny("encoder"), toy_train, toy_dev)
    assert states == (random.getstate(), torch.get_rng_state().tolist())


def test_an_adapter_is_repaired_or_refused(make, tiny, toy_train, toy_dev, tmp_path):
    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train.select(range(32)), TuneSpec(method="lora", epochs=1, learning_rate=1e-3))
    save_classifier(classifier, tmp_path)
    try:
        repaired, _ = make().repair(tmp_path, toy_train, toy_dev)
    except UnsupportedError as error:
        assert str(tmp_path) in str(error)
    else:
        assert repaired.label_names == classifier.label_names


def test_the_plan_says_all_that_decides(make):
    plan = make().plan()
    assert json.loads(json.dumps(plan)) == plan
    assert make().plan() == plan
    assert make(seed=1).plan() != plan


def test_scikit_learn_can_clone_it(make):
    repair = make(seed=4)
    assert clone(repair).get_params() == repair.get_params()
