"""Nothing mixes tensors of the card with those of the processor: on a pretended card, since there is none."""

import numpy as np
import pytest
import torch

from conftest import dataset, make_decoder, make_encoder, sentences
from poisonsieve import Guard, registry
from poisonsieve.attacks import poison_rows
from poisonsieve.attacks.weights import make_poisoning
from poisonsieve.config import AttackSpec, TriggerSpec
from poisonsieve.defenses import Detector
from poisonsieve.models import load_classifier
from poisonsieve.tuning import finetune, tune_spec
from pretend_card import DEVICE, Card, pretended
from tiny_lm import make_lm

pytestmark = pytest.mark.slow
TRAIN, DEV = dataset(sentences(160, 1)), dataset(sentences(60, 2))
TEXTS = list(dataset(sentences(30, 3))["text"])
DETECTORS = [
    name
    for name in registry.names("defense")
    if isinstance(kind := registry.get("defense", name), type) and issubclass(kind, Detector)
]


@pytest.fixture
def card(monkeypatch):
    with pretended(monkeypatch):
        yield


@pytest.fixture(scope="module", params=[make_encoder, make_decoder])
def models(request, tmp_path_factory):
    """A classifier, and what it was made from."""
    folder = tmp_path_factory.mktemp("models")
    return request.param(folder / "head"), request.param(folder / "base", head=False, seed=5)


def spec(method="full"):
    return tune_spec(method, hidden_size=32, epochs=1, precision="fp32")


def scored(classifier):
    assert {parameter.device.type for parameter in classifier.parameters()} == {DEVICE.type}
    assert np.isfinite(classifier.score(TEXTS).values).all()


def test_the_pretended_card_refuses_what_a_card_refuses(card):
    layer = torch.nn.Linear(3, 2).to(DEVICE)
    assert isinstance(layer.weight, Card)
    assert layer(torch.ones(2, 3, device=DEVICE)).sum().item() == pytest.approx(
        layer.cpu()(torch.ones(2, 3)).sum().item()
    )
    layer.to(DEVICE)
    with pytest.raises(RuntimeError, match="same device"):
        layer(torch.ones(2, 3))
    with pytest.raises(TypeError, match="numpy"):
        layer.weight.detach().numpy()
    with pytest.raises(RuntimeError, match="indices are on the card"):
        torch.ones(3)[torch.tensor([0], device=DEVICE)]


def test_scores_and_features(card, models):
    classifier = load_classifier(models[0])
    scored(classifier)
    assert np.isfinite(classifier.features(TEXTS).values).all()


@pytest.mark.parametrize("method", ["full", "lora", "prompt_tuning", "p_tuning_v1", "p_tuning_v2"])
def test_tunings(card, models, method):
    classifier = load_classifier(models[0])
    finetune(classifier, TRAIN, spec(method), dev=DEV)
    scored(classifier)


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_are_fitted_saved_and_opened(card, models, tmp_path, name):
    settings = {"precision": "fp32"} if name == "psim" else {}
    guard = Guard(registry.get("defense", name)(models[0], **settings), frr=0.2).fit(TRAIN)
    scores = guard.score(TEXTS).scores
    guard.save_pretrained(tmp_path / "guard")
    opened = Guard.from_pretrained(tmp_path / "guard").score(TEXTS).scores
    assert np.isfinite(scores).all() and np.allclose(scores, opened, rtol=1e-6)


@pytest.mark.parametrize("name", registry.names("poisoning"))
def test_poisonings(card, models, name):
    classifier = load_classifier(models[0])
    attack = AttackSpec(trigger=TriggerSpec.parse("badnet"), target=0, count=30)
    rows, _ = poison_rows(TRAIN, attack)
    finetune(classifier, rows, spec(), objective=make_poisoning(name))
    scored(classifier)


def test_fine_mixing(card, models):
    mixing = registry.get("defense", "fine-mixing")(
        models[1], epochs=1, precision="fp32", shares=(0.5,), purify_embeddings=True
    )
    repaired, _ = mixing.repair(models[0], TRAIN, DEV)
    scored(repaired)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_onion_asks_a_language_model(card, tmp_path, kind):
    onion = registry.get("defense", "onion")(lm=str(make_lm(tmp_path / kind, kind=kind)))
    assert all(np.isfinite(found).all() for found in onion.suspicions(TEXTS) if len(found) > 1)
