"""Existing rewrites, read from files.

They have two uses. `load_rewrites` gives a mapping from text to rewrite, for a trigger or a defence that was run
elsewhere. `aligned_rewrites` takes row i of a file as the rewrite of row i of a data set.

The formats and columns are those of `poisonsieve.data.files`. Texts must match exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poisonsieve.data import labels_of
from poisonsieve.data.files import Record, extensions, format_of, read_records
from poisonsieve.data.labels import Labelled, encode_labels
from poisonsieve.errors import DataError
from poisonsieve.storage import sha256_file

if TYPE_CHECKING:
    import datasets

_ORIGINAL = "original"
_INDEX = "idx"


@dataclass(frozen=True)
class Rewrites:
    """A mapping from texts to their rewrites.

    Attributes:
        by_text: rewrite of each distinct original text.
        rows: number of rows that are rewrites.
        conflicting: number of rows whose text has a different rewrite in an earlier row; the first one counts.
        digest: sha256 of the files.
    """

    by_text: dict[str, str]
    rows: int
    conflicting: int
    digest: str


def load_rewrites(file: str | Path, original: str | Path | None = None, *, unchanged: bool) -> Rewrites:
    """Read a mapping from text to rewrite.

    Args:
        file: the rewritten texts, and the originals if it has a column `original`.
        original: the data file with which `file` is aligned row by row, if `file` does not contain the originals.
            Labels are not compared, since a poisoned file may have others on purpose.
        unchanged: whether a row with the same text in both counts as a rewrite. For a defence it means that there was
            nothing to change; for a trigger, that the trigger could not be put into the text.

    Raises:
        DataError: a file or row cannot be read, the two files have different numbers of rows, or the originals are
            given twice or not at all.
    """
    file = Path(file)
    pairs = list(_own_pairs(file) if original is None else _pairs(file, Path(original)))
    found: dict[str, str] = {}
    rows = conflicting = 0
    for text, rewrite in pairs:
        if text == rewrite and not unchanged:
            continue
        rows += 1
        conflicting += found.setdefault(text, rewrite) != rewrite
    if not found:
        raise DataError(f"{file} rewrites nothing: every text is the same as its original")
    read = [file] if original is None else [file, Path(original)]
    digest = hashlib.sha256("\n".join(sha256_file(path) for path in read).encode()).hexdigest()
    return Rewrites(found, rows, conflicting, digest)


def aligned_rewrites(data: datasets.Dataset, file: str | Path) -> datasets.Dataset:
    """Replace the texts of `data` by those of `file`, which is aligned with it row by row.

    Args:
        data: columns `text` and `label`, optionally `idx`.
        file: a file with the same number of rows and the same labels, and the same `idx` where both have one.

    Raises:
        DataError: the two are not aligned; the message names the first row that differs and how.
    """
    import datasets as hf

    file = Path(file)
    records = list(_records(file, extra=(_INDEX,)))
    rows = [Labelled(f"{file}:{record.line}", record.text or "", record.label) for record in records]
    labels, _ = encode_labels(rows, labels_of(data))
    indices = data[_INDEX] if _INDEX in data.column_names else [None] * len(data)
    # Compare only as far as the shorter one goes: a row lost in the middle shows in the labels after it.
    for row, record, label, wanted, index in zip(rows, records, labels, data["label"], indices, strict=False):
        given = record.extra.get(_INDEX)
        if label != wanted:
            raise DataError(
                f"{row.where}: label is {label}, but {wanted} in the data; they do not line up row by row"
            )
        if index is not None and given is not None and str(given) != str(index):
            raise DataError(f"{row.where}: idx is {given}, but {index} in the data; they do not line up row by row")
    _require_as_many(records, len(data), file, "the data")
    columns = {name: list(data[name]) for name in data.column_names}
    return hf.Dataset.from_dict({**columns, "text": [row.text for row in rows]}, features=data.features)


def _own_pairs(file: Path) -> Iterator[tuple[str, str]]:
    for record in _records(file, extra=(_ORIGINAL,)):
        original = record.extra.get(_ORIGINAL)
        if not isinstance(original, str):
            raise DataError(
                f"{file}:{record.line}: there is no text in the column `{_ORIGINAL}`; name the file of the originals "
                f"({_ORIGINAL}=FILE), or write them into that column"
            )
        yield original, record.text or ""


def _pairs(file: Path, original: Path) -> Iterator[tuple[str, str]]:
    rewrites = list(_records(file, extra=(_ORIGINAL,)))
    if any(_ORIGINAL in record.extra for record in rewrites):
        raise DataError(f"{file} has a column `{_ORIGINAL}` of its own; leave {_ORIGINAL}={original} out")
    originals = list(_records(original))
    _require_as_many(rewrites, len(originals), file, str(original))
    for before, after in zip(originals, rewrites, strict=True):
        yield before.text or "", after.text or ""


def _require_as_many(records: Sequence[Record], wanted: int, file: Path, other: str) -> None:
    if len(records) == wanted:
        return
    first = (
        f"its row {wanted + 1} (line {records[wanted].line}) is a rewrite of nothing"
        if len(records) > wanted
        else f"row {len(records) + 1} of {other} has no rewrite"
    )
    raise DataError(
        f"{file} has {len(records)} rows and {other} {wanted}; they do not line up row by row: at the latest, {first}"
    )


def _records(path: Path, extra: Sequence[str] = ()) -> Iterator[Record]:
    """Read the rows of a file, refusing any row without a text."""
    kind = format_of(path)
    if kind is None:
        raise DataError(f"{path}: unknown format {path.suffix or '(no extension)'}; use {extensions()}")
    for record in read_records(path, kind, extra=extra):
        if record.text is None:
            raise DataError(f"{path}:{record.line}: {record.error}")
        yield record
