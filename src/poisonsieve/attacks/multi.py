"""Several triggers in one poisoned set, as in the paper's Table 9: each text gets one of them."""

from __future__ import annotations

import random

from poisonsieve.attacks.base import make_trigger
from poisonsieve.errors import ConfigError
from poisonsieve.registry import register


@register("attack", "multi")
class Multi:
    """Apply one of several triggers, drawn uniformly for each text.

    Args:
        of: names of the triggers, joined by ``+``.
    """

    def __init__(self, of: str = "badnet+insent") -> None:
        names = [name.strip() for name in of.split("+") if name.strip()]
        if len(names) < 2 or "multi" in names:
            raise ConfigError(f"trigger multi: of={of!r} must name two or more other triggers, joined by +")
        self.of = of
        self._triggers = [make_trigger(name) for name in names]

    def apply(self, text: str, rng: random.Random) -> str:
        """Return the text with one of the triggers applied."""
        return rng.choice(self._triggers).apply(text, rng)
