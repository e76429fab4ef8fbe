"""The latest distinct texts that a process has judged: what the watch over the traffic compares. In memory only."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from poisonsieve.serve.passages import Passage
from poisonsieve.verdict import Verdict


@dataclass(eq=False, slots=True)
class Seen:
    """A text that was judged. It may have come several times; what is said of a request is of the latest.

    Attributes:
        sha256: of the text.
        chars: its length.
        text: the text itself; None if it is not kept.
        verdict: its verdict.
        passage: what the guard's network said of it.
        request_id, index: the request, and the position among its texts.
        time_us: when it was judged, microseconds since 1970.
        flagged: it passed and was later recorded as part of a campaign.
    """

    sha256: str
    chars: int
    text: str | None
    verdict: Verdict
    passage: Passage
    request_id: str
    index: int
    time_us: int
    flagged: bool = False


class Window:
    """The latest distinct texts, at most `most`. Belongs to the event loop: no other thread may use it.

    Args:
        most: number of texts to keep; the one that came longest ago leaves first.
        keep_texts: keep the texts themselves too.

    Attributes:
        fresh: number of texts that have entered since it was last set to 0.
    """

    def __init__(self, most: int, *, keep_texts: bool) -> None:
        self.fresh = 0
        self._most = most
        self._keep_texts = keep_texts
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def add(
        self,
        texts: Sequence[str],
        verdicts: Sequence[Verdict],
        passages: Sequence[Passage | None],
        *,
        request_id: str,
    ) -> None:
        """Let the texts of a request enter, those of which the network's states are known."""
        now = time.time_ns() // 1000
        for index, (text, verdict, passage) in enumerate(zip(texts, verdicts, passages, strict=True)):
            if passage is None:
                continue
            sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            known = self._seen.pop(sha256, None)
            self.fresh += known is None
            kept = text if self._keep_texts else None
            flagged = known is not None and known.flagged
            self._seen[sha256] = Seen(
                sha256, len(text), kept, verdict, passage, request_id, index, now, flagged=flagged
            )
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def texts(self) -> list[Seen]:
        """Return the texts, the one that came longest ago first."""
        return list(self._seen.values())
