"""Rewrites that someone else made, read from files.

Two uses. As a mapping (`load_rewrites`), a text is looked up and its rewrite given: a trigger or a defence that was run
elsewhere. As an aligned set (`aligned_rewrites`), row i of a file is the rewrite of row i of a data set.

The formats and columns are those of `poisonsieve.data.files`. Texts are compared as the loader reads them: exactly.
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
    """Texts and what they were rewritten to.

    Attributes:
        by_text: rewrite of each different original text.
        rows: rows of the file that are rewrites.
        conflicting: rows whose text has another rewrite in an earlier row; the first one counts.
        digest: sha256 of what was read.
    """

    by_text: dict[str, str]
    rows: int
    conflicting: int
    digest: str


def load_rewrites(file: str | Path, original: str | Path | None = None, *, unchanged: bool) -> Rewrites:
    """Read a mapping from text to rewrite.

    Args:
        file: the rewritten texts; with a column `original` beside the text, the originals too.
        original: the data file that `file` follows row by row, when the originals are not in it. The labels of the
            two are not compared: a poisoned file may carry others on purpose.
        unchanged: whether a row whose text is the same in both is a rewrite, as it is for a defence that found
            nothing to change; for a trigger it is a row into which the trigger could not be put.

    Raises:
        DataError: a file or a row of it cannot be read, the two have different numbers of rows, or the originals are
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
    """`data` with its texts replaced by those of `file`, which follows it row by row.

    Args:
        data: columns `text` and `label`, perhaps `idx`.
        file: as many rows, with the same labels, and the same `idx` where both have one.

    Raises:
        DataError: it does not line up; names the first row that differs, and what differs.
    """
    import datasets as hf

    file = Path(file)
    records = list(_records(file, extra=(_INDEX,)))
    rows = [Labelled(f"{file}:{record.line}", record.text or "", record.label) for record in records]
    labels, _ = encode_labels(rows, labels_of(data))
    indices = data[_INDEX] if _INDEX in data.column_names else [None] * len(data)
    # Of files of different length the shorter decides: a row lost in the middle shows in the labels behind it.
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
    """The rows of a file that all have a text."""
    kind = format_of(path)
    if kind is None:
        raise DataError(f"{path}: unknown format {path.suffix or '(no extension)'}; use {extensions()}")
    for record in read_records(path, kind, extra=extra):
        if record.text is None:
            raise DataError(f"{path}:{record.line}: {record.error}")
        yield record
