"""Files beside data that look like more of them, but would not be read: told by their names, and refused.

A part that somebody packed, or wrote in another format, would else be left out, and nobody would know: of training rows,
of the rows that a threshold is chosen on, or of the texts that a guard should see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from poisonsieve.data.files import FORMATS, extensions, format_of
from poisonsieve.data.shards import PACKED, data_stem
from poisonsieve.errors import DataError

#: Formats of data that are not read, or not in a folder; what has no extension is one of them.
_OTHERS = frozenset(("", ".json", ".txt", ".text", ".tab", ".psv", ".dat", ".data", ".xml", ".xls", ".xlsx", ".ods"))
_OTHERS |= {".arrow", ".feather", ".orc", ".avro", ".pkl", ".pickle", ".npy", ".npz", ".h5", ".db", ".sqlite"}
_SHOWN = 5


def refuse_left_out(files: Iterable[Path]) -> None:
    """Make sure that no file of one folder looks like data and is not read.

    That is a packed or rotated data file (``a.jsonl.zst``, ``a.jsonl.1``), and one in another format whose name differs
    from a data file's in nothing but numbers (``part-2.txt`` beside ``part-1.jsonl``).

    Args:
        files: all that lie in the folder.

    Raises:
        DataError: names those that do, and what to do; or a data file is there packed and unpacked.
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
    """Whether a name is that of a data file, or such a name stands before what says that it is packed or rotated."""
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
    """The name without its extension, and with one sign for any number."""
    return re.sub(r"[0-9]+", "#", data_stem(file).lower())
