"""Screen a stream of texts and count the outcomes: a file for `poisonsieve screen`, a folder on a cluster."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from poisonsieve.guard.traffic import Traffic, examine, hearing
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


def screened_together(
    guarded: GuardedClassifier, rows: Iterable[InputRow], *, progress: bool = False
) -> tuple[list[Record], Traffic]:
    """Screen rows each by itself, then all of them together: texts of a campaign that passed are rejected too.

    No verdict is loosened. The victim has read a text that is rejected in the end, and its answer is withheld.

    Args:
        guarded: the guard, with a victim or without.
        rows: rows from `poisonsieve.data.inputs.read_inputs`; all of them are in memory.
        progress: draw progress bars on stderr.

    Raises:
        ConfigError, DataError: see `poisonsieve.guard.traffic.examine`; before any text is screened, if possible.
    """
    rows = list(rows)
    with hearing(guarded.guard, [row.text for row in rows if row.text is not None]) as heard:
        records = list(screened(guarded, rows, progress=progress))
    read = [place for place, record in enumerate(records) if record.text is not None]
    texts = [record.text for record in records if record.text is not None]
    found = examine(guarded.guard, texts, heard=heard, progress="comparing" if progress else None)
    for place, flagged in zip(read, found.flagged.tolist(), strict=True):
        if flagged and not records[place].verdict.rejected:
            records[place] = replace(records[place], verdict=records[place].verdict.of_a_campaign())
    return records, found
