"""What a trigger is: a function from (text, random generator) to the triggered text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from poisonsieve.attacks.building import build
from poisonsieve.config import TriggerSpec
from poisonsieve.errors import CannotApplyError


@runtime_checkable
class Trigger(Protocol):
    """Puts a trigger into a text.

    An implementation is a class registered with ``@register("attack", name)`` whose constructor takes the
    trigger's own arguments, each with a default where there can be one. One that reads files or weights has a method
    ``digest() -> str`` too, the sha256 of what it read: a result is kept under all that decided it.
    """

    def apply(self, text: str, rng: random.Random) -> str:
        """The triggered text. All chance comes from `rng`; the same state gives the same text.

        Raises:
            CannotApplyError: this trigger cannot be put into this text.
        """
        ...


def apply_each(trigger: Trigger, texts: Sequence[str], rng: random.Random) -> list[str | None]:
    """Every text triggered, in order; None where the trigger cannot be applied.

    A trigger for which many texts at once are cheaper (one that asks a model) has a method `apply_each` of its own,
    with the same meaning.
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
    """The trigger that a spec, or its text form such as ``badnet:word=cf``, describes.

    Raises:
        ConfigError: no such trigger, or it has no such argument.
    """
    spec = TriggerSpec.parse(spec) if isinstance(spec, str) else spec
    trigger: Trigger = build("attack", spec)
    return trigger


def insert_between_words(text: str, insertion: str, rng: random.Random) -> str:
    """`text` with `insertion` between two of its words, never first or last (released scripts of the paper).

    A one-word text has no such place: there the insertion follows the word. In an empty text it stands alone.
    """
    words = text.split()
    if len(words) < 2:
        return " ".join([*words, insertion])
    place = rng.randint(1, len(words) - 1)
    return " ".join([*words[:place], insertion, *words[place:]])
