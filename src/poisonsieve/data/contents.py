"""Refusing files whose content does not match their name, before any row is read.

Read as lines of text, a compressed file or UTF-16 gives rows of noise, some of which a guard would pass. Only files
that are wrong as a whole are refused here; single bad rows are left to the reader.
"""

from __future__ import annotations

from poisonsieve.data.binary import check_bytes
from poisonsieve.data.json_shapes import check_json, check_no_json_lines
from poisonsieve.errors import DataError

#: Number of bytes examined at the start of a file.
BLOCK = 2**18


def check(block: bytes, kind: str, source: str) -> None:
    """Refuse content that is not of its kind.

    Args:
        block: the first bytes.
        kind: ``jsonl``, ``csv``, ``tsv``, ``plain`` or ``stdin``.
        source: name of the source, for messages.

    Raises:
        DataError: the content is something else; the message says what it is and what to do.
    """
    check_bytes(block, source)
    check_line_ends(block, source)
    if kind in ("jsonl", "plain", "stdin"):
        check_json(block, source, lines=kind == "jsonl")
    if kind == "plain":
        check_no_json_lines(block, source, cut=len(block) >= BLOCK)


def check_line_ends(block: bytes, source: str) -> None:
    """Refuse lines that end in a bare carriage return, as on old Macs: together they would be read as one row.

    Raises:
        DataError: there are carriage returns and no line feeds.
    """
    if b"\n" in block or b"\r" not in block:
        return
    lines = [line for line in block.split(b"\r") if line.strip()]
    if len(lines) > 1 or block.count(b"\r") > 1:
        raise DataError(
            f"{source} has lines that end in a carriage return alone: convert it, tr '\\r' '\\n' < IN > OUT"
        )
