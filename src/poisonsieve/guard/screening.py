"""Texts screened as they come, and counted: what `poisonsieve screen` does with a file and a cluster with a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from poisonsieve.progress import progress_bar
from poisonsieve.records import Record

if TYPE_CHECKING:
    from poisonsieve.data.inputs import InputRow
    from poisonsieve.guard.guarded import GuardedClassifier

CHUNK = 2048  # rows in memory at a time; they are sorted by length inside


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
                yield Record(row.index, row.line, row.text, row.error, verdict, row.id)
            moved.update(len(chunk))
