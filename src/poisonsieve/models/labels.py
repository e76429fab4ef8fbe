"""The class names of a checkpoint, and whether they are the data's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from poisonsieve.models.safety import METADATA, is_adapter, read_json


def saved_label_names(folder: Path) -> list[str] | None:
    """The class names a checkpoint was saved with, or None when it names none.

    `LABEL_0`-style names and plain numbers are what libraries fill in: they count as none.
    """
    if is_adapter(folder):
        names = read_json(folder / METADATA).get("label_names") if (folder / METADATA).is_file() else None
        return None if names is None or is_generic(names) else list(names)
    mapping = read_json(folder / "config.json").get("id2label") or {}
    names = [mapping[key] for key in sorted(mapping, key=int)]
    return None if is_generic(names) else names


def is_generic(names: Sequence[str]) -> bool:
    """Whether the names are only numbers, such as libraries fill in."""
    return all(name in (str(index), f"LABEL_{index}") for index, name in enumerate(names))


def same_classes(left: Sequence[str], right: Sequence[str]) -> bool:
    """Whether two lists name the same classes in the same order; names that are only numbers fit any."""
    return len(left) == len(right) and (list(left) == list(right) or is_generic(left) or is_generic(right))
