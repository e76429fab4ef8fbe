"""What each detector has been shown to stop: figures of the core grid that ship with the package.

`benchmarks/shown.py` writes the file from a finished part of the grid, so that nobody copies figures by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

#: Families of triggers that a real attacker brings, by what they are called in the file, in the order of the line.
FAMILIES = {
    "word": "words",
    "sentence": "sentences",
    "several": "several triggers at once",
    "smoothed labels": "smoothed labels",
    "embedding": "one embedding row",
    "syntax": "sentence shapes",
    "style": "styles",
}


@dataclass(frozen=True)
class Shown:
    """How many guarded victims of a family's attacks were within the goal; see `poisonsieve.yardstick.goal`.

    Attributes:
        family: a key of `FAMILIES`.
        classes: number of classes of the task.
        within, cells: victims within the goal, and all whose attack took.
    """

    family: str
    classes: int
    within: int
    cells: int


def shown_for(detector: str) -> list[Shown]:
    """Return what a detector was shown to do; empty for one that is not in the grid."""
    return [Shown(**entry) for entry in _record()["detectors"].get(detector, [])]


def in_one_line(detector: str, classes: int) -> str:
    """Say what guards of this kind stopped, and what they were not shown to stop, for a model with so many classes.

    For example ``words 8 of 8, sentences 2 of 2 (MiniLM, 2 classes); not shown: sentence shapes, styles``.
    """
    known = {found.family: found for found in shown_for(detector) if (found.classes > 2) == (classes > 2)}
    stopped = [f"{name} {known[key].within} of {known[key].cells}" for key, name in FAMILIES.items() if key in known]
    missing = [name for key, name in FAMILIES.items() if key not in known]
    if not stopped:
        return f"nothing yet on {'more than two' if classes > 2 else 'two'} classes: try it on an attack of your own"
    line = f"{', '.join(stopped)} ({_record()['models']})"
    return f"{line}; not shown: {', '.join(missing)}" if missing else line


@cache
def _record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(__package__).joinpath("shown.json").read_text(encoding="utf-8"))
    return found
