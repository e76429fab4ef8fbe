"""Where models are put."""

import pytest
import torch

from poisonsieve.environment import DEVICE_VARIABLE, device_type, environment
from poisonsieve.errors import ConfigError
from poisonsieve.models.load import pick_device
from poisonsieve.tuning.trainer import pick_precision


@pytest.fixture
def card(monkeypatch):
    """torch says that there is a card."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")


@pytest.mark.parametrize("said", [None, "", "auto", "cpu", " CPU "])
def test_without_a_card_it_is_the_processor(monkeypatch, said):
    monkeypatch.delenv(DEVICE_VARIABLE, raising=False)
    if said is not None:
        monkeypatch.setenv(DEVICE_VARIABLE, said)
    assert device_type() == "cpu"


@pytest.mark.parametrize(("said", "device"), [("", "cuda"), ("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
def test_with_a_card_the_variable_decides_for_models_and_training_alike(monkeypatch, card, said, device):
    monkeypatch.setenv(DEVICE_VARIABLE, said)
    assert pick_device().type == device
    assert environment().get("gpu") == ("a card" if device == "cuda" else None)
    if device == "cuda":
        assert pick_precision("auto") == "bf16"


@pytest.mark.parametrize(
    ("has", "may_use", "precision"), [(True, "AVX512", "bf16"), (True, "AVX2", "fp32"), (False, "AVX512", "fp32")]
)
def test_a_processor_trains_in_bf16_if_it_has_it_and_torch_may_use_it(monkeypatch, has, may_use, precision):
    monkeypatch.setenv(DEVICE_VARIABLE, "cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: may_use)
    assert pick_precision("auto") == precision


@pytest.mark.parametrize(("said", "says"), [("cuda", "sees no GPU"), ("gpu", "auto, cpu or cuda")])
def test_what_cannot_be_had_is_refused(monkeypatch, said, says):
    monkeypatch.setenv(DEVICE_VARIABLE, said)
    with pytest.raises(ConfigError, match=says):
        device_type()
