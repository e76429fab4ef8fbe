"""What a file holds, where that is not what its name says: told in one line, before any row of it is read.

Read as lines of text, a compressed file or UTF-16 gives rows of noise, some of which a guard would pass. Only what the
file as a whole cannot be is refused here; a row that is wrong is the reader's business.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Literal

from poisonsieve.errors import DataError
from poisonsieve.parsing import RepeatedKeyError, parse_json
from poisonsieve.texts import TEXT_COLUMNS

_OPENED = re.compile(r'\{\s*"')
# ASCII, punctuation, kana, ideographs, Hangul, full-width forms.
_EAST_ASIAN = ((1, 0x7F), (0x2010, 0x2026), (0x3000, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3), (0xFF00, 0xFFEF))
_FEWEST_UNITS = 24  # below, chance makes a script
_CUT = 2**12  # what is shorter has been seen as a whole

#: How much of a file is looked at.
BLOCK = 2**18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_TEXT_CONTROLS = frozenset(b"\0\t\n\r\f\x0b\x1b")
_PACKED = {
    b"\x1f\x8b": ("compressed with gzip", "gzip -dc"),
    b"BZh": ("compressed with bzip2", "bzip2 -dc"),
    b"\xfd7zXZ\0": ("compressed with xz", "xz -dc"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "zstd -dc"),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "lz4 -dc"),
    b"PK\x03\x04": ("a zip archive, as .xlsx is too", None),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", None),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an old Office file", None),
    b"PAR1\x15": ("Parquet", None),
    b"ARROW1\0\0": ("an Arrow file", None),
    b"SQLite format 3\0": ("an SQLite database", None),
}


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
    if kind in ("jsonl", "plain", "stdin"):
        check_json(block, source, lines=kind == "jsonl")
    if kind == "plain":
        check_plain(block, source)


def check_bytes(block: bytes, source: str) -> None:
    """Refuse what is no text: compressed, of a binary format, or in UTF-16 or UTF-32.

    Args:
        block: how it begins.
        source: what it is called in messages.

    Raises:
        DataError: says what it is and what to do.
    """
    for magic, (what, unpack) in _PACKED.items():
        if not block.startswith(magic) or (magic == b"BZh" and block[4:10] not in (b"1AY&SY", b"\x17rE8P\x90")):
            continue
        raise DataError(f"{source} is {what}: {_way_out(what, unpack, source)}")
    if _is_wide(block):
        raise DataError(
            f"{source} is UTF-16, UTF-32 or no text at all (a large share of NUL bytes, or a UTF-16 mark); texts are "
            "read as UTF-8: convert it, such as with iconv -f UTF-16 -t UTF-8"
        )


def check_json(block: bytes, source: str, *, lines: bool) -> None:
    """Refuse JSON that is not one object a line.

    Args:
        block: how it begins.
        source: what it is called in messages.
        lines: whether it is read as JSONL, where no row is a list; else only a list of objects is one.

    Raises:
        DataError: it is one list, one object written over several lines, or pandas's columns.
    """
    text = block.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace").lstrip()
    if text.startswith("["):
        first = text[1:].lstrip()[:1]
        if (first == "{" or (lines and first not in ("", "]"))) and _is_list(text):
            each = ".[]" if first == "{" else ".[] | {text: .}"
            raise DataError(
                f"{source} is one JSON list, not one object a line: convert it, jq -c '{each}' IN > OUT.jsonl"
            )
    elif text.startswith("{"):
        _check_object(text, source, lines=lines)


def check_plain(block: bytes, source: str) -> None:
    """Refuse JSONL under a name that says plain text: braces and keys would be judged with the texts.

    Raises:
        DataError: every line is a JSON object.
    """
    lines = block.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
    # The last one may go on behind the block. When it is all there is, its beginning has to do.
    whole = [line for line in lines[:-1] if line.strip()] or [line for line in lines if line.strip()]
    if whole and (all(map(_is_object, whole)) or (len(block) >= BLOCK and len(lines) == 1 and _opens_object(block))):
        raise DataError(
            f"{source} holds a JSON object on every line, but its name says plain text: "
            "rename it to end in .jsonl, or give it on standard input (-)"
        )


def _way_out(what: str, unpack: str | None, source: str) -> str:
    if what == "Parquet":
        return "name it .parquet" if source != "stdin" else "give the file, not a pipe"
    if unpack is None:
        return "unpack or export it as JSONL or CSV"
    if unpack.startswith("gzip") and source != "stdin":
        return "rename it to end in .jsonl.gz, .csv.gz, .tsv.gz or .txt.gz, or unpack it (gzip -d)"
    return f"unpack it first ({unpack})"


def _is_wide(block: bytes) -> bool:
    """Whether it is UTF-16 or UTF-32: marked so, full of NUL bytes, or in units of two bytes the letters of one script.

    Stray NULs in a row do not make it so: they are few, and on either side.
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
    """UTF-8 without control characters, NUL aside; a character may be cut off at the end."""
    try:
        block[: len(block) - 4].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(block) - 4:
            return False
    return all(byte >= 32 or byte in _TEXT_CONTROLS for byte in set(block))


def _is_wide_script(block: bytes, order: Literal["little", "big"]) -> bool:
    """Whether units of two bytes, some of which are spaces or line breaks, are letters of one script."""
    units = [int.from_bytes(block[at : at + 2], order) for at in range(0, len(block) - 1, 2)]
    if len(units) < _FEWEST_UNITS or not any(unit in (0x20, 0x0A) for unit in units):
        return False
    pages = Counter(unit >> 8 for unit in units if unit >= 0x80)
    alphabet = sum(unit < 0x80 for unit in units) + max(pages.values(), default=0)
    east_asian = sum(any(first <= unit <= last for first, last in _EAST_ASIAN) for unit in units)
    return max(alphabet, east_asian) >= 0.95 * len(units)


def _is_list(text: str) -> bool:
    """Whether `text` is a JSON list as far as it goes, and nothing else."""
    decoder = json.JSONDecoder()
    at = 1
    while (at := _after_space(text, at)) < len(text):
        try:
            _, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            return _is_cut_off(error, text)
        except (ValueError, RecursionError):
            return False
        at = _after_space(text, at)
        if text[at : at + 1] == "]":
            return not text[at + 1 :].strip()
        if text[at : at + 1] not in (",", ""):
            return False
        at += 1
    return len(text) >= _CUT  # a shorter one is not closed: a bad row and good ones


def _check_object(text: str, source: str, *, lines: bool) -> None:
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        value, end = None, len(text) if _is_cut_off(error, text) else 0
    except (ValueError, RecursionError):
        return
    if _OPENED.match(text) and "\n" in text[:end]:
        raise DataError(
            f"{source} is JSON over several lines, not one object a line: convert it, jq -c . IN > OUT.jsonl"
        )
    columns = [name for name in TEXT_COLUMNS if value and isinstance(value.get(name), dict)]
    if lines and columns and not text[end:].strip():
        raise DataError(
            f"{source} is one object that holds whole columns, as pandas writes by default: "
            "write it with to_json(orient='records', lines=True)"
        )


def _is_cut_off(error: json.JSONDecodeError, text: str) -> bool:
    """Whether the error is that the text goes on behind what was looked at, not something in it."""
    rest = text[error.pos :].strip()
    ended = not rest or error.msg.startswith("Unterminated string")
    return len(text) >= _CUT and (ended or any(word.startswith(rest) for word in ("true", "false", "null", "-")))


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except RepeatedKeyError:
        return True
    except (ValueError, RecursionError):
        return False


def _opens_object(block: bytes) -> bool:
    return block.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b'{"')
