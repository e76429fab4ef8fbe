"""One label as it stands in a source, read the same way from CSV, JSONL, Parquet and the hub.

CSV knows strings only, and pandas writes a column of whole numbers as ``0.0`` once a value was missing in it, truth
values as ``True`` and nothing at all as one of a dozen words. What stands for the same thing is the same thing here.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

#: What pandas reads as missing.
MISSING = frozenset(("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"))
MISSING |= {"N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null"}
# In any case, as other tools write them. Not `none` and `na`, which are stances and languages: only as above.
_MISSING_FOLDED = frozenset(("#n/a", "<na>", "n/a", "nan", "null"))
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?", re.IGNORECASE)
_LARGEST = 2**53  # to here a float holds every whole number
_TRUTH = {"false": "False", "true": "True"}


class NoLabelError(ValueError):
    """It is no label at all; the message says what it is."""


def read_label(value: object) -> int | str | None:
    """A class number, a class name, or None where the label is missing.

    Args:
        value: a string, a number or a truth value of Python or of numpy, or None.

    Raises:
        NoLabelError: another number than a whole one, or something else than a number, a string or a truth value.
    """
    if not isinstance(value, str) and getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # numpy's own numbers
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float | Decimal):
        return None if value != value else _whole(float(value), str(value))
    if not isinstance(value, str):
        raise NoLabelError(f"{str(value)[:40]} is neither a whole number nor a string but {type(value).__name__}")
    return _read_string(value.strip())


def number_value(label: object) -> Decimal | None:
    """The number that a label or a class's name is, however it is written; None where it is none, or not finite."""
    if not isinstance(label, str) and getattr(label, "shape", None) == () and hasattr(label, "item"):
        label = label.item()
    if isinstance(label, bool) or not isinstance(label, str | int | float | Decimal):
        return None
    text = label.strip() if isinstance(label, str) else ""
    if isinstance(label, str) and not _NUMBER.fullmatch(text):
        return None
    try:
        # A float's shortest form: 0.1 in JSON and "0.1" in CSV are one number.
        value = Decimal(text or (str(label) if isinstance(label, float) else label))
    except InvalidOperation:  # an exponent of twenty digits
        return None
    return value if value.is_finite() else None


def truth_name(label: int | str) -> str | None:
    """``False`` or ``True`` for a label that is one of them in any case, else None."""
    return _TRUTH.get(label.lower()) if isinstance(label, str) else None


def _read_string(text: str) -> int | str | None:
    if not text or text in MISSING or text.lower() in _MISSING_FOLDED:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    return _whole(float(text), text) if _NUMBER.fullmatch(text) else text


def _whole(number: float, shown: str) -> int:
    if abs(number) > _LARGEST or not number.is_integer():
        raise NoLabelError(f"{shown[:40]} is not a whole number; write class numbers from 0, or names")
    return int(number)
