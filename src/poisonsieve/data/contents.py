"""What a file holds, where that is not what its name says: told in one line, before any row of it is read.

Read as lines of text, a compressed file or UTF-16 gives rows of noise, some of which a guard would pass. Only what the
file as a whole cannot be is refused here; a row that is wrong is the reader's business.
"""

from __future__ import annotations

from poisonsieve.data.binary import check_bytes
from poisonsieve.data.json_shapes import check_json, check_no_json_lines
from poisonsieve.errors import DataError

#: How much of a file is looked at.
BLOCK = 2**18


def check(block: bytes, kind: str, source: str) -> None:
    """Refuse what is not of its kind.

    Args:
        block: how it begins.
        kind: ``jsonl``, ``csv``, ``tsv``, ``plain`` or ``stdin``.
        source: what it is called in messages.

    Raises:
        DataError: says what it is and what to do.
    """
    check_bytes(block, source)
    check_line_ends(block, source)
    if kind in ("jsonl", "plain", "stdin"):
        check_json(block, source, lines=kind == "jsonl")
    if kind == "plain":
        check_no_json_lines(block, source, cut=len(block) >= BLOCK)


def check_line_ends(block: bytes, source: str) -> None:
    """Refuse lines that end as on an old Mac: all of them would be one row, with all texts in it.

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
