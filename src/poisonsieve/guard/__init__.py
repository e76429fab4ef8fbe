"""The guard, the classifier it guards, and the commands' work with the two: screening and evaluation."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poisonsieve.guard.guard import Guard, make_guard
    from poisonsieve.guard.guarded import GuardedClassifier
    from poisonsieve.verdict import Verdict

#: Imported on first use, so that reading a guard folder needs no model library.
_HOMES = {
    "Guard": "guard.guard",
    "GuardedClassifier": "guard.guarded",
    "Verdict": "verdict",
    "make_guard": "guard.guard",
}

__all__ = ["Guard", "GuardedClassifier", "Verdict", "make_guard"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"poisonsieve.{_HOMES[name]}"), name)
