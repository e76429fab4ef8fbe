"""What the detectors keep to that read the model as it is: a reference to it is saved, and no other is accepted."""

import inspect
import json
import shutil

import numpy as np
import pytest

from conftest import dataset, make_encoder, sentences
from poisonsieve import Guard, registry
from poisonsieve.config import TuneSpec
from poisonsieve.defenses.network import ModelDetector
from poisonsieve.errors import CheckpointError
from poisonsieve.guard import GuardedClassifier
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.models.safety import weights_digest
from poisonsieve.tuning import finetune


def reads_the_model(name):
    found = registry.get("defense", name)
    return inspect.isclass(found) and issubclass(found, ModelDetector)


@pytest.fixture(scope="module", params=[name for name in registry.names("defense") if reads_the_model(name)])
def kind(request):
    return registry.get("defense", request.param)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("models") / "theta_p")


@pytest.fixture(scope="module")
def fitted(kind, model, toy_train, toy_dev):
    return Guard(kind(model, seed=2), frr=0.05).fit(toy_train, calibration=toy_dev)


@pytest.fixture
def guard(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "guard")
    return tmp_path / "guard"


def test_the_four_are_there():
    assert {"msp", "strip", "rap", "dan"} <= {name for name in registry.names("defense") if reads_the_model(name)}


def test_the_folder_holds_a_reference_and_no_weights_of_the_model(fitted, guard, model):
    said = json.loads((guard / "guard.json").read_text())
    assert said["base"]["source"] == str(model)
    assert said["base"]["sha256"] == weights_digest(model) == fitted.detector.base_digest
    assert said["base"]["identity"] == load_classifier(model).provenance.identity
    assert not (guard / "model.safetensors").exists()
    assert not list(guard.glob("*.bin"))
    assert not {"model", "base", "allow_pickle", "frr", "gamma"} & set(said["settings"])


def test_settings_come_back(fitted, guard):
    again = Guard.from_pretrained(guard)
    before, after = fitted.detector.get_params(), again.detector.get_params()
    assert after.pop("max_length") == again.classifier.wanted_max_length
    before.pop("max_length")
    before["model"] = str(before["model"])
    assert after == before


def test_the_threshold_in_force_comes_back(fitted, tmp_path):
    before = fitted.calibration_
    try:
        fitted.set_threshold(gamma=float(fitted.calibration_.scores[3]))
        fitted.save_pretrained(tmp_path / "guard")
        again = Guard.from_pretrained(tmp_path / "guard")
        assert again.threshold_ == fitted.threshold_
        assert again.gamma == fitted.threshold_.gamma
    finally:
        fitted.calibration_ = before


def test_a_relative_path_is_found_from_elsewhere(kind, toy_train, toy_dev, tmp_path, monkeypatch):
    make_encoder(tmp_path / "here" / "model")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    guard = Guard(kind("model"), frr=0.05).fit(toy_train, calibration=toy_dev)
    guard.save_pretrained(tmp_path / "guard")
    monkeypatch.chdir(tmp_path / "there")
    assert Guard.from_pretrained(tmp_path / "guard").label_names == guard.label_names


def test_another_model_is_refused_and_one_that_moved_can_be_pointed_to(kind, toy_train, toy_dev, toy_test, tmp_path):
    base = make_encoder(tmp_path / "model", seed=0)
    guard = Guard(kind(base), frr=0.05).fit(toy_train, calibration=toy_dev)
    guard.save_pretrained(tmp_path / "guard")
    base.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="--base"):
        Guard.from_pretrained(tmp_path / "guard")
    make_encoder(base, seed=5)
    with pytest.raises(CheckpointError, match=r"is not the model .*--base"):
        Guard.from_pretrained(tmp_path / "guard")
    again = Guard.from_pretrained(tmp_path / "guard", base=tmp_path / "moved")
    texts = list(toy_test["text"])[:5]
    np.testing.assert_allclose(again.decision_function(texts), guard.decision_function(texts), atol=1e-6)
    assert again.detector.model == tmp_path / "moved"


def test_an_adapter_whose_base_moved(kind, toy_train, toy_dev, toy_test, tmp_path):
    base = make_encoder(tmp_path / "base")
    victim = load_classifier(base)
    few = toy_train.select(range(16))
    finetune(victim, few, TuneSpec(method="lora", epochs=1, learning_rate=1e-3, precision="fp32"))
    (tmp_path / "victim").mkdir()
    save_classifier(victim, tmp_path / "victim")
    guard = Guard(kind(tmp_path / "victim"), frr=0.05).fit(toy_train, calibration=toy_dev)
    assert guard.detector.base_digest == weights_digest(base)
    guard.save_pretrained(tmp_path / "guard")
    texts = list(toy_test["text"])[:5]
    scores = guard.decision_function(texts)
    shutil.move(base, tmp_path / "moved")
    with pytest.raises(CheckpointError, match="--base"):
        Guard.from_pretrained(tmp_path / "guard")
    again = Guard.from_pretrained(tmp_path / "guard", base=tmp_path / "moved")
    np.testing.assert_allclose(again.decision_function(texts), scores, atol=1e-6)


def test_an_unknown_option_is_not_swallowed(guard):
    with pytest.raises(TypeError, match="tempreature"):
        Guard.from_pretrained(guard, tempreature=1)


@pytest.mark.parametrize("change", [{"settings": {"tempreature": 1}}, {"settings": 7}, {"base": {}}, {"rule": None}])
def test_a_damaged_reference_is_refused(guard, change):
    path = guard / "guard.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match="damaged"):
        Guard.from_pretrained(guard)


def test_the_plan_is_made_of_what_decides_the_scores(kind, model):
    names = load_classifier(model).label_names
    plan = kind(model).plan(names)
    assert plan["start"] == load_classifier(model).provenance.identity
    assert plan["guard"]["method"] == kind.name
    assert json.loads(json.dumps(plan)) == plan
    assert kind(str(model)).plan(names) == plan
    assert kind(model, seed=1).plan(names) != plan
    assert kind(model, max_length=9).plan(names) != plan


def test_it_goes_before_a_victim(fitted, model, toy_test):
    guarded = GuardedClassifier(fitted, load_classifier(model))
    verdicts = guarded.screen(list(toy_test["text"]))
    assert any(not verdict.rejected for verdict in verdicts)
    assert [verdict.rejected for verdict in verdicts] == fitted.predict(toy_test["text"]).astype(bool).tolist()


def test_a_head_of_one_output_is_refused(kind, toy_train, toy_dev, tmp_path):
    make_encoder(tmp_path / "model", labels=1)
    with pytest.raises(CheckpointError, match="one output"):
        Guard(kind(tmp_path / "model"), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_on_a_decoder(kind, tiny, toy_test, tmp_path):
    rows = dataset(sentences(120, seed=8))
    guard = Guard(kind(tiny("decoder")), frr_mean=0.1).fit(rows)
    texts = list(toy_test["text"])[:10]
    scores = guard.decision_function(texts)
    np.testing.assert_allclose([guard.decision_function([text])[0] for text in texts], scores, atol=1e-6)
    assert guard.score(["", "a film"]).errors == ["no tokens in the text", None]
    guard.save_pretrained(tmp_path / "guard")
    np.testing.assert_allclose(Guard.from_pretrained(tmp_path / "guard").decision_function(texts), scores, atol=1e-6)
