"""What a tuning is: a function that puts it on a network, and the hyper-parameters that it takes by default."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from poisonsieve import registry
from poisonsieve.config import TuneSpec

#: (network, how to train it, modules to be trained and saved beside it) -> the network that is then trained.
Attach = Callable[[Any, TuneSpec, list[str]], Any]


@dataclass(frozen=True)
class Tuning:
    """A tuning and its defaults.

    Attributes:
        attach: puts it on a network.
        rates: peak learning rates for models narrower than 512, narrower than 1024, and wider.
        epochs: passes over the training rows.
        psim_rate: peak learning rate of PSIM's one epoch over randomly relabelled rows.
        paper: the paper's own learning rate and epochs (Section 5.1 and the released scripts); None where it has none.
        peft_type: what PEFT calls such an adapter; None where the whole model is saved.
        virtual_tokens: whether it puts tokens before the text, and leaves the network as it is.
    """

    attach: Attach
    rates: tuple[float, float, float]
    epochs: int
    psim_rate: float
    paper: tuple[float, int] | None = None
    peft_type: str | None = None
    virtual_tokens: bool = False

    def __post_init__(self) -> None:
        """Say of itself what the function says."""
        object.__setattr__(self, "__doc__", self.attach.__doc__)


def tuning(name: str, *, aliases: Collection[str] = (), **settings: Any) -> Callable[[Attach], Tuning]:
    """Decorator that makes a function known as a tuning; `settings` are the other attributes of `Tuning`.

    Raises:
        ConfigError: the name is taken.
    """
    return lambda attach: registry.register("tuning", name, aliases=aliases)(Tuning(attach, **settings))


def get_tuning(name: str) -> Tuning:
    """The tuning of that name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    found: Tuning = registry.get("tuning", name)
    return found
