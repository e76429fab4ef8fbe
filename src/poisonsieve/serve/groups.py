"""Groups of rejected texts with something in common, for deciding them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poisonsieve.guard.common_ground import Seen, common_ground, having
from poisonsieve.serve.quarantine import Quarantine, Which
from poisonsieve.serve.settings import ServeSettings
from poisonsieve.verdict import Verdict

NEWEST = 2000  # rejected texts that are compared


class Groups:
    """What rejected texts have in common that passed texts lack.

    Rejected texts are those in the quarantine, of all replicas and earlier runs. Of texts that passed in this
    process, only hashes of their words and phrases are kept in memory, or nothing with `hash_only`.

    Args:
        quarantine: the quarantine with the rejected texts.
        settings: `compared_texts` and `hash_only`.
    """

    def __init__(self, quarantine: Quarantine, settings: ServeSettings) -> None:
        self._quarantine = quarantine
        self._hash_only = settings.hash_only
        self._passed = Seen(settings.compared_texts, latest=True)

    def note(self, texts: Sequence[str], verdicts: Sequence[Verdict]) -> None:
        """Keep hashes of the texts that passed. Call it in the event loop only."""
        if self._hash_only:
            return
        for text, verdict in zip(texts, verdicts, strict=True):
            if not verdict.rejected:
                self._passed.add(text)

    def to_dict(self) -> dict[str, Any]:
        """Return groups of the newest open records rejected as poisoned, JSON-ready, with the ids of their records."""
        kept = self._quarantine.texts("open", NEWEST)
        found = common_ground([text for _, text in kept], self._passed)
        groups = [
            {**group.to_dict(), "group": group.trait, "ids": [kept[place][0] for place in group.members]}
            for group in found
        ]
        return {"groups": groups, "rejected_texts": len(kept), "passed_texts": len(self._passed)}

    def ids(self, which: Which, trait: str) -> list[int]:
        """Return ids of the newest records that have a trait, named as under `group` in `to_dict`."""
        kept = self._quarantine.texts(which, NEWEST)
        members = having(trait, (text for _, text in kept))
        return [number for (number, _), member in zip(kept, members, strict=True) if member]
