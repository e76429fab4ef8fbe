"""Reading a single label the same way from CSV, JSONL, Parquet and the hub.

CSV has only strings, and pandas writes whole numbers as ``0.0`` if a value in their column is missing, booleans as
``True``, and missing values as one of a dozen words. Here different spellings of the same value are equal.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

#: The strings that pandas reads as missing.
MISSING = frozenset(("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"))
MISSING |= {"N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null"}
# In upper or lower case, as other tools write them. Not `none` and `na`, which may be a stance and a language.
_MISSING_FOLDED = frozenset(("#n/a", "<na>", "n/a", "nan", "null"))
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?", re.IGNORECASE)
_LARGEST = 2**53  # up to here a float represents every whole number
_TRUTH = {"false": "False", "true": "True"}


class NoLabelError(ValueError):
    """A value that cannot be a label; the message says what it is."""


def read_label(value: object) -> int | str | None:
    """Return a class number, a class name, or None if the label is missing.

    Args:
        value: a Python or numpy string, number or boolean, or None.

    Raises:
        NoLabelError: the value is a number that is not whole, or neither a number, a string nor a boolean.
    """
    if not isinstance(value, str) and getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # a numpy scalar
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
    """Return the number that a label or class name spells, or None if it is not a finite number."""
    if not isinstance(label, str) and getattr(label, "shape", None) == () and hasattr(label, "item"):
        label = label.item()
    if isinstance(label, bool) or not isinstance(label, str | int | float | Decimal):
        return None
    text = label.strip() if isinstance(label, str) else ""
    if isinstance(label, str) and not _NUMBER.fullmatch(text):
        return None
    try:
        # Use a float's shortest form, so that 0.1 in JSON equals "0.1" in CSV.
        value = Decimal(text or (str(label) if isinstance(label, float) else label))
    except InvalidOperation:  # for example an exponent of twenty digits
        return None
    return value if value.is_finite() else None


def truth_name(label: int | str) -> str | None:
    """Return ``False`` or ``True`` for a label that spells it in upper or lower case, else None."""
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
