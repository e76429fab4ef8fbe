"""Texts screened as they come, and counted: what `poisonsieve screen` does with a file and a cluster with a folder."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from poisonsieve.progress import progress_bar
from poisonsieve.records import Record

if TYPE_CHECKING:
    from poisonsieve.data.inputs import InputRow
    from poisonsieve.guard.guarded import GuardedClassifier

CHUNK = 2048  # rows in memory at a time; they are sorted by length inside
COUNTED = ("n", "passed", "poisoned", "not_scored", "truncated")


def screened(guarded: GuardedClassifier, rows: Iterable[InputRow], *, progress: bool = False) -> Iterator[Record]:
    """A record for each row, in order; one that could not be read is rejected, and no model sees it.

    Args:
        guarded: the guard, and the victim where there is one.
        rows: from `poisonsieve.data.inputs.read_inputs`; `CHUNK` of them are in memory at a time.
        progress: draw a progress bar on stderr.
    """
    rows = iter(rows)
    with progress_bar("screening" if progress else None, " texts") as moved:
        while chunk := list(itertools.islice(rows, CHUNK)):
            verdicts = guarded.screen_read([row.text for row in chunk], [row.error for row in chunk])
            for row, verdict in zip(chunk, verdicts, strict=True):
                yield Record(row.index, row.line, row.text, row.error, verdict)
            moved.update(len(chunk))


class Tally:
    """Counts of verdicts: all, passed, poisoned, not scored, and how many were truncated."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, *, rejected: bool, reason: str | None, truncated: bool) -> None:
        """Count one verdict."""
        self._counts["n"] += 1
        self._counts["truncated"] += truncated
        self._counts["passed" if not rejected else "poisoned" if reason == "poisoned" else "not_scored"] += 1

    def to_dict(self) -> dict[str, Any]:
        """The counts by their names, and how many were rejected."""
        counts = {name: self._counts[name] for name in COUNTED}
        return {**counts, "rejected": counts["poisoned"] + counts["not_scored"]}
