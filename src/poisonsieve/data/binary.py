"""Detecting bytes that are not UTF-8 text (compressed, binary, or in another encoding) from how they begin."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from poisonsieve.errors import DataError

# ASCII, punctuation, kana, ideographs, Hangul, full-width forms.
_EAST_ASIAN = ((1, 0x7F), (0x2010, 0x2026), (0x3000, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3), (0xFF00, 0xFFEF))
_FEWEST_UNITS = 24  # fewer units may look like one script by chance
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_TEXT_CONTROLS = frozenset(b"\0\t\n\r\f\x0b\x1b")
_ZIP = "a zip archive, as .xlsx and .npz are too"
#: The first bytes of a format, its description, and the program that unpacks it.
_FORMATS: tuple[tuple[bytes, str, str | None], ...] = (
    (rb"\x1f\x8b", "compressed with gzip", "gzip -dc"),
    (rb"\x1f\x9d", "compressed with compress", "gzip -dc < IN"),
    (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", "compressed with bzip2", "bzip2 -dc"),
    (rb"\xfd7zXZ\0", "compressed with xz", "xz -dc"),
    # Properties, dictionary size, and content size, which is unknown or below four gigabytes.
    (rb"\x5d\0\0..(\xff{8}|.{4}\0{4})", "compressed with lzma", "xz -dc"),
    (rb"LZIP\x01", "compressed with lzip", "lzip -dc"),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd -dc"),
    (rb"\x04\x22\x4d\x18", "compressed with lz4", "lz4 -dc"),
    (rb"\xff\x06\0\0sNaPpY", "compressed with snappy", "snzip -dc"),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", _ZIP, None),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", None),
    (rb"Rar!\x1a\x07", "a RAR archive", None),
    (rb"(?=.{0,107}\0).{257}ustar[\0 ]", "a tar archive", None),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file", None),
    (rb"PAR1\x15", "Parquet", None),
    (rb"ARROW1\0\0|\xff{4}.{4}\x10\0\0\0", "an Arrow file", None),
    (rb"FEA1.?\0", "a Feather file", None),
    (rb"Obj\x01", "an Avro file", None),
    (rb"SQLite format 3\0", "an SQLite database", None),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", None),
    (rb"\x93NUMPY", "an array of NumPy", None),
    (rb"\x80[\x02-\x05](\x95|[\]}(c])", "a pickle", None),
    (rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xc0-\xef]", "a picture", None),
    (rb"%PDF-[0-9]\.[0-9]\s*[\r\n]", "a PDF", None),
)
#: Signatures of letters only, with which a text may begin too: they count only if the rest is not text.
_LETTERS: tuple[tuple[bytes, str, str | None], ...] = (
    (rb"ORC", "an ORC file", None),
    (rb"GIF8[79]a", "a picture", None),
    (rb"FEA1", "a Feather file", None),
)


def check_bytes(block: bytes, source: str) -> None:
    """Refuse bytes that are not UTF-8 text: compressed, in a binary format, or in UTF-16 or UTF-32.

    Args:
        block: the first bytes.
        source: name of the source, for messages.

    Raises:
        DataError: the bytes are not UTF-8 text; the message says what they are and what to do.
    """
    for pattern, what, unpack in (*_FORMATS, *(() if _is_text(block) else _LETTERS)):
        if re.match(pattern, block, re.DOTALL):
            raise DataError(f"{source} is {what}: {_advice(what, unpack, source)}")
    if _is_wide(block):
        raise DataError(
            f"{source} is UTF-16, UTF-32 or not text at all (many NUL bytes, or a UTF-16 byte order mark); texts are "
            "read as UTF-8: convert it, for example with iconv -f UTF-16 -t UTF-8"
        )


def _advice(what: str, unpack: str | None, source: str) -> str:
    if what == "Parquet":
        return "name it .parquet" if source != "stdin" else "give the file, not a pipe"
    if unpack is None:
        return "unpack or export it as JSONL or CSV"
    if unpack.startswith("gzip") and source != "stdin":
        return "rename it to end in .jsonl.gz, .csv.gz, .tsv.gz or .txt.gz, or unpack it (gzip -d)"
    return f"unpack it first ({unpack})"


def _is_wide(block: bytes) -> bool:
    """Tell whether it is UTF-16 or UTF-32: by a byte order mark, many NUL bytes, or 16-bit letters of one script.

    Stray NUL bytes in a row of text do not count: they are few and occur at both even and odd positions.
    """
    if len(block) < 4 or b"\0" not in block:
        return block.startswith(_WIDE_MARKS) and b"\n" not in block
    if block.startswith(_WIDE_MARKS):
        return True
    zeros = [block[phase::4].count(0) for phase in range(4)]
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    one_sided = 10 * min(even, odd) <= max(even, odd)
    most, few = 0.95 * (len(block) // 4), 0.05 * len(block)
    little, big = min(zeros[2:]) >= most and zeros[0] <= few, min(zeros[:2]) >= most and zeros[3] <= few
    utf32 = len(block) >= 8 and (little or big)
    if not block.strip(b"\0 \r\n\t"):
        return False
    if utf32 or (one_sided and even + odd > 0.35 * len(block)):
        return True
    return one_sided and not _is_text(block) and _is_wide_script(block, "little" if odd > even else "big")


def _is_text(block: bytes) -> bool:
    """Tell whether it is UTF-8 without control characters except NUL; the last character may be cut off."""
    try:
        block[: len(block) - 4].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(block) - 4:
            return False
    return all(byte >= 32 or byte in _TEXT_CONTROLS for byte in set(block))


def _is_wide_script(block: bytes, order: Literal["little", "big"]) -> bool:
    """Tell whether 16-bit units, among them a space or line break, are letters of one script."""
    units = [int.from_bytes(block[at : at + 2], order) for at in range(0, len(block) - 1, 2)]
    if len(units) < _FEWEST_UNITS or not any(unit in (0x20, 0x0A) for unit in units):
        return False
    pages = Counter(unit >> 8 for unit in units if unit >= 0x80)
    alphabet = sum(unit < 0x80 for unit in units) + max(pages.values(), default=0)
    east_asian = sum(any(first <= unit <= last for first, last in _EAST_ASIAN) for unit in units)
    return max(alphabet, east_asian) >= 0.95 * len(units)
