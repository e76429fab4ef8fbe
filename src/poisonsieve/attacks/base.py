"""The trigger interface: a function from (text, random generator) to the triggered text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from poisonsieve.attacks.building import build
from poisonsieve.config import TriggerSpec
from poisonsieve.errors import CannotApplyError


@runtime_checkable
class Trigger(Protocol):
    """A way of putting a trigger into a text.

    An implementation is a class registered with ``@register("attack", name)``. Its constructor takes the trigger's own
    arguments, each with a default where possible. An implementation that reads files or weights also has a method
    ``digest() -> str`` with the sha256 of what it read, because cached results are keyed by everything that determines
    them.
    """

    def apply(self, text: str, rng: random.Random) -> str:
        """Return the triggered text. All randomness comes from `rng`; the same state gives the same text.

        Raises:
            CannotApplyError: the trigger does not fit this text.
        """
        ...


def apply_each(trigger: Trigger, texts: Sequence[str], rng: random.Random) -> list[str | None]:
    """Trigger every text, in order; None where the trigger cannot be applied.

    A trigger that is cheaper on many texts at once, for instance because it runs a model, defines its own method
    `apply_each` with the same contract.
    """
    own = getattr(trigger, "apply_each", None)
    if own is not None:
        found: list[str | None] = own(texts, rng)
        return found
    return [_apply_or_none(trigger, text, rng) for text in texts]


def _apply_or_none(trigger: Trigger, text: str, rng: random.Random) -> str | None:
    try:
        return trigger.apply(text, rng)
    except CannotApplyError:
        return None


def make_trigger(spec: TriggerSpec | str) -> Trigger:
    """Build the trigger that a spec, or its text form such as ``badnet:word=cf``, describes.

    Raises:
        ConfigError: there is no such trigger, or it has no such argument.
    """
    spec = TriggerSpec.parse(spec) if isinstance(spec, str) else spec
    trigger: Trigger = build("attack", spec)
    return trigger


def insert_between_words(text: str, insertion: str, rng: random.Random) -> str:
    """Insert `insertion` between two words of `text`, never first or last (as in the paper's released scripts).

    In a one-word text, which has no such place, the insertion follows the word. An empty text becomes the insertion.
    """
    words = text.split()
    if len(words) < 2:
        return " ".join([*words, insertion])
    place = rng.randint(1, len(words) - 1)
    return " ".join([*words[:place], insertion, *words[place:]])
