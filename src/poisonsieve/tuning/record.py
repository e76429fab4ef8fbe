"""The definition of a tuning: a function that attaches it to a network, and its default hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from poisonsieve import registry
from poisonsieve.config import TuneSpec

#: (network, spec, additional modules to train and save) -> the network that is then trained.
Attach = Callable[[Any, TuneSpec, list[str]], Any]


@dataclass(frozen=True)
class Tuning:
    """A tuning and its defaults.

    Attributes:
        attach: function that attaches the tuning to a network.
        rates: peak learning rates for models of width below 512, below 1024, and above.
        epochs: passes over the training rows.
        psim_rate: peak learning rate of PSIM's single epoch over randomly relabelled rows.
        paper: the paper's learning rate and epochs (Section 5.1 and the released scripts); None if it has none.
        peft_type: PEFT's name for such an adapter; None if the whole model is saved.
        virtual_tokens: whether it adds tokens before the text and leaves the network unchanged.
    """

    attach: Attach
    rates: tuple[float, float, float]
    epochs: int
    psim_rate: float
    paper: tuple[float, int] | None = None
    peft_type: str | None = None
    virtual_tokens: bool = False

    def __post_init__(self) -> None:
        """Take over the function's docstring."""
        object.__setattr__(self, "__doc__", self.attach.__doc__)


def tuning(name: str, *, aliases: Collection[str] = (), **settings: Any) -> Callable[[Attach], Tuning]:
    """Register a function as a tuning (decorator); `settings` are the other attributes of `Tuning`.

    Raises:
        ConfigError: the name is taken.
    """
    return lambda attach: registry.register("tuning", name, aliases=aliases)(Tuning(attach, **settings))


def get_tuning(name: str) -> Tuning:
    """Return the tuning registered under a name.

    Raises:
        ConfigError: there is none; the message lists the known ones.
    """
    found: Tuning = registry.get("tuning", name)
    return found
