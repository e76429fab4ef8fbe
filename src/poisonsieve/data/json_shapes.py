"""Refusing JSON that is not one object per line, and JSON lines in files named as plain text."""

from __future__ import annotations

import json
import re

from poisonsieve.data.records import without_marks
from poisonsieve.errors import DataError
from poisonsieve.parsing import RepeatedKeyError, parse_json
from poisonsieve.texts import TEXT_COLUMNS

_OPENED = re.compile(r'\{\s*"')
_CUT = 2**12  # anything shorter has been seen in full


def check_json(block: bytes, source: str, *, lines: bool) -> None:
    """Refuse JSON that is not one object per line.

    Args:
        block: the first bytes.
        source: name of the source, for messages.
        lines: whether the source is read as JSONL, where any list is refused; otherwise only lists of objects are.

    Raises:
        DataError: the source is a single list, an object over several lines, or pandas's default of whole columns.
    """
    text = without_marks(block).decode("utf-8", "replace").lstrip()
    if text.startswith("["):
        first = text[1:].lstrip()[:1]
        if (first == "{" or (lines and first not in ("", "]"))) and _is_list(text):
            each = ".[]" if first == "{" else ".[] | {text: .}"
            raise DataError(
                f"{source} is one JSON list, not one object per line: convert it, jq -c '{each}' IN > OUT.jsonl"
            )
    elif text.startswith("{"):
        _check_object(text, source, lines=lines)


def check_no_json_lines(block: bytes, source: str, *, cut: bool) -> None:
    """Refuse JSONL in a file named as plain text: braces and keys would be judged with the texts.

    A plain text may contain a few such lines, so only a majority counts. The first line of a rotated log may be
    incomplete, and the lines of a printed list end in commas.

    Args:
        block: the first bytes.
        source: name of the source, for messages.
        cut: whether the source continues after `block`.

    Raises:
        DataError: most lines are JSON objects.
    """
    lines = without_marks(block).split(b"\n")
    # The last line may be incomplete; it counts only if there is no other.
    whole = [line for line in lines[:-1] if line.strip()] or [line for line in lines if line.strip()]
    objects = list(map(_is_object, whole))
    if len(whole) > 1 and not objects[0] and whole[0].strip(b" \t\r,").endswith(b"}"):
        del objects[0]  # the end of an object that began in the previous file
    if 2 * sum(objects) > len(objects) or (cut and len(lines) == 1 and _opens_object(block)):
        raise DataError(
            f"{source} holds JSON objects, one per line, but its name says plain text: "
            "rename it to end in .jsonl, or give it on standard input (-)"
        )


def _is_list(text: str) -> bool:
    """Tell whether `text` is a JSON list, perhaps cut off, and nothing else."""
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
    return len(text) >= _CUT  # a shorter list is unclosed, so it is one bad row before good ones


def _check_object(text: str, source: str, *, lines: bool) -> None:
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        value, end = None, len(text) if _is_cut_off(error, text) else 0
    except (ValueError, RecursionError):
        return
    if _OPENED.match(text) and "\n" in text[:end]:
        raise DataError(
            f"{source} is JSON over several lines, not one object per line: convert it, jq -c . IN > OUT.jsonl"
        )
    columns = [name for name in TEXT_COLUMNS if value and isinstance(value.get(name), dict)]
    if lines and columns and not text[end:].strip():
        raise DataError(
            f"{source} is one object that holds whole columns, as pandas writes by default: "
            "write it with to_json(orient='records', lines=True)"
        )


def _is_cut_off(error: json.JSONDecodeError, text: str) -> bool:
    """Tell whether the error comes from the end of the examined block rather than from the text itself."""
    rest = text[error.pos :].strip()
    ended = not rest or error.msg.startswith("Unterminated string")
    return len(text) >= _CUT and (ended or any(word.startswith(rest) for word in ("true", "false", "null", "-")))


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parse_json(without_marks(line).strip().removesuffix(b",")), dict)
    except RepeatedKeyError:
        return True
    except (ValueError, RecursionError):
        return False


def _opens_object(block: bytes) -> bool:
    return without_marks(block).lstrip().startswith(b'{"')
