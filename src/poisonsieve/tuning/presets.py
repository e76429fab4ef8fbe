"""Default hyper-parameters, and the paper's.

The paper trains models of 330 million weights and more at 2e-5. A 22-million-weight encoder barely moves at that
rate: it needs a higher one, as is usual for narrow models. The default therefore depends on the width of the model
and on nothing else, so that it can be said in one line and needs no look at any data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from poisonsieve.config import Method, TuneSpec, make_spec
from poisonsieve.errors import ConfigError

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

#: Learning rates by (narrower than 512, narrower than 1024, wider).
_RATES: dict[str, tuple[float, float, float]] = {
    "full": (1e-4, 5e-5, 2e-5),
    "lora": (5e-4, 5e-4, 2e-4),
    "prompt_tuning": (5e-3, 5e-3, 2e-3),
    "p_tuning_v1": (2e-3, 2e-3, 2e-3),
    "p_tuning_v2": (5e-3, 5e-3, 2e-3),
}
_EPOCHS: dict[str, int] = {"full": 3, "lora": 3, "prompt_tuning": 5, "p_tuning_v1": 5, "p_tuning_v2": 5}

#: Section 5.1 and the released scripts.
_PAPER: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 2e-5, "epochs": 3},
    "lora": {"learning_rate": 2e-3, "epochs": 20},
    "prompt_tuning": {"learning_rate": 2e-3, "epochs": 20},
    "p_tuning_v1": {"learning_rate": 2e-3, "epochs": 20},
    "p_tuning_v2": {"learning_rate": 2e-3, "epochs": 20},
}
PAPER_PSIM: dict[str, Any] = {
    "method": "p_tuning_v1",
    "learning_rate": 2e-5,
    "epochs": 1,
    "batch_size": 32,
    "virtual_tokens": 5,
    "encoder_hidden": 128,
}
PAPER_GAMMA = 0.7


def tune_spec(method: Method, *, hidden_size: int, preset: str = "default", **overrides: Any) -> TuneSpec:
    """A spec for training an attacker's or a victim's model.

    Args:
        method: one of the five tunings.
        hidden_size: width of the model, from its config.
        preset: ``default``, or ``paper`` for the paper's learning rate and epochs.
        overrides: fields of `TuneSpec` set by the user; None leaves the preset's value.

    Raises:
        ConfigError: an unknown method, preset or field, or a value out of range.
    """
    if preset not in ("default", "paper"):
        raise ConfigError(f"unknown preset {preset!r}; known: default, paper")
    if method not in _RATES:
        raise ConfigError(f"unknown tuning {method!r}; known: {', '.join(sorted(_RATES))}")
    if preset == "paper":
        values = dict(_PAPER[method])
    else:
        width = 0 if hidden_size < 512 else 1 if hidden_size < 1024 else 2
        values = {"learning_rate": _RATES[method][width], "epochs": _EPOCHS[method]}
    values.update({key: value for key, value in overrides.items() if value is not None})
    return make_spec(TuneSpec, method=method, **values)


def spec_maker(
    method: str, *, preset: str = "default", max_length: int | None = None, **overrides: Any
) -> Callable[[Classifier], TuneSpec]:
    """`tune_spec` for a model that is yet to be opened: its width and its own length limit fill what is not given."""

    def make(opened: Classifier) -> TuneSpec:
        width, length = opened.base.config.hidden_size, max_length or opened.wanted_max_length
        return tune_spec(method, hidden_size=width, preset=preset, max_length=length, **overrides)  # type: ignore[arg-type]

    return make
