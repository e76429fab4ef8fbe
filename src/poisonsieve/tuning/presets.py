"""Default hyper-parameters and the paper's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from poisonsieve.config import TuneSpec, make_spec
from poisonsieve.errors import ConfigError
from poisonsieve.tuning.record import get_tuning

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

PAPER_PSIM: dict[str, Any] = {
    "method": "p_tuning_v1",
    "learning_rate": 2e-5,
    "epochs": 1,
    "batch_size": 32,
    "virtual_tokens": 5,
    "encoder_hidden": 128,
}
PAPER_GAMMA = 0.7


def tune_spec(method: str, *, hidden_size: int, preset: str = "default", **overrides: Any) -> TuneSpec:
    """Make a spec for training an attacker's or a victim's model.

    Args:
        method: name of a tuning.
        hidden_size: width of the model, from its config.
        preset: ``default``, or ``paper`` for the paper's learning rate and epochs.
        overrides: fields of `TuneSpec` set by the user; None keeps the preset's value.

    Raises:
        ConfigError: a method, preset or field is unknown, or a value is out of range.
    """
    if preset not in ("default", "paper"):
        raise ConfigError(f"unknown preset {preset!r}; known: default, paper")
    tuning = get_tuning(method)
    if preset == "paper":
        if tuning.paper is None:
            raise ConfigError(f"the paper has no settings for {method}; use the default preset")
        rate, epochs = tuning.paper
    else:
        rate, epochs = tuning.rates[0 if hidden_size < 512 else 1 if hidden_size < 1024 else 2], tuning.epochs
    values: dict[str, Any] = {"learning_rate": rate, "epochs": epochs}
    values.update({key: value for key, value in overrides.items() if value is not None})
    return make_spec(TuneSpec, method=method, **values)


def spec_maker(
    method: str, *, preset: str = "default", max_length: int | None = None, **overrides: Any
) -> Callable[[Classifier], TuneSpec]:
    """Defer `tune_spec` until the model is open, whose width and length limit fill in what is not given."""

    def make(opened: Classifier) -> TuneSpec:
        width = opened.base.config.get_text_config().hidden_size
        length = max_length or opened.wanted_max_length
        return tune_spec(method, hidden_size=width, preset=preset, max_length=length, **overrides)

    return make
