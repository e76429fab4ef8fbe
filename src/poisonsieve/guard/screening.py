"""Screen a stream of texts and count the outcomes: a file for `poisonsieve screen`, a folder on a cluster."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from poisonsieve.progress import progress_bar
from poisonsieve.records import Record

if TYPE_CHECKING:
    from poisonsieve.data.inputs import InputRow
    from poisonsieve.guard.guarded import GuardedClassifier

CHUNK = 2048  # rows in memory at a time; sorted by length within


def screened(guarded: GuardedClassifier, rows: Iterable[InputRow], *, progress: bool = False) -> Iterator[Record]:
    """Yield a record for each row, in order; an unreadable row is rejected, and no model sees it.

    Args:
        guarded: the guard, with a victim or without.
        rows: rows from `poisonsieve.data.inputs.read_inputs`; `CHUNK` of them are in memory at a time.
        progress: draw a progress bar on stderr.
    """
    rows = iter(rows)
    with progress_bar("screening" if progress else None, " texts") as moved:
        while chunk := list(itertools.islice(rows, CHUNK)):
            verdicts = guarded.screen_read([row.text for row in chunk], [row.error for row in chunk])
            for row, verdict in zip(chunk, verdicts, strict=True):
                yield Record(row.index, row.line, row.text, row.error, verdict, row.id)
            moved.update(len(chunk))
