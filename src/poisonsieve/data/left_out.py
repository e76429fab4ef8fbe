"""Refusing files next to data files that look like data, by their names, but would not be read.

Otherwise a part that was compressed or written in another format would silently be missing from the training rows, the
calibration rows or the texts to be screened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from poisonsieve.data.files import FORMATS, extensions, format_of
from poisonsieve.data.shards import PACKED, data_stem
from poisonsieve.errors import DataError

#: Extensions of data formats that are not read, or not in a folder; a missing extension counts too.
_OTHERS = frozenset(("", ".json", ".txt", ".text", ".tab", ".psv", ".dat", ".data", ".xml", ".xls", ".xlsx", ".ods"))
_OTHERS |= {".arrow", ".feather", ".orc", ".avro", ".pkl", ".pickle", ".npy", ".npz", ".h5", ".db", ".sqlite"}
_SHOWN = 5


def refuse_left_out(files: Iterable[Path]) -> None:
    """Refuse a folder with files that look like data but are not read.

    Such a file is a compressed or rotated data file (``a.jsonl.zst``, ``a.jsonl.1``), or one in another format whose
    name differs from a data file's only in numbers (``part-2.txt`` next to ``part-1.jsonl``).

    Args:
        files: all files of the folder.

    Raises:
        DataError: there is such a file, or a data file exists both compressed and uncompressed.
    """
    every = [file for file in files if not file.name.startswith(".")]
    read = [file for file in every if format_of(file)]
    _refuse_copies(read)
    patterns = {_pattern(file) for file in read}
    left = [file for file in every if not format_of(file) and (is_data(file) or _is_part(file, patterns))]
    if left:
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        raise DataError(
            f"{left[0].parent} holds {', '.join(file.name for file in left[:_SHOWN])}{more}, which would go unread: "
            f"unpack it, or write it as one of {extensions()}, or move it elsewhere"
        )


def is_data(file: Path) -> bool:
    """Tell whether a name is that of a data file, perhaps compressed or rotated."""
    kept = file.suffix.lower() in PACKED or file.suffix[1:].isdecimal()
    return format_of(file) is not None or (kept and Path(file.stem).suffix.lower() in (*FORMATS, ".json"))


def _refuse_copies(read: Iterable[Path]) -> None:
    names = {file.name for file in read}
    for name in sorted(names):
        if f"{name}.gz" in names:
            raise DataError(
                f"{name} and {name}.gz are one file, unpacked and packed: its rows would count twice; keep one"
            )


def _is_part(file: Path, patterns: set[str]) -> bool:
    return file.suffix.lower() in _OTHERS | PACKED and _pattern(file) in patterns


def _pattern(file: Path) -> str:
    """Return the name without its extension, with ``#`` for every number."""
    return re.sub(r"[0-9]+", "#", data_stem(file).lower())
