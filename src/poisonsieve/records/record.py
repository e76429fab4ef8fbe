"""One input and its verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from poisonsieve.verdict import Verdict

#: A function that takes the next record.
Put: TypeAlias = Callable[["Record"], None]


@dataclass(frozen=True, slots=True)
class Record:
    """One input and its verdict.

    Attributes:
        index: position among the inputs, from 0.
        line: source line on which the input starts, from 1; in Parquet, the row.
        text: the screened text; None exactly when `error` is set.
        error: why the input could not be read; None if it could.
        verdict: the verdict of the guard and the victim.
        id: the caller's own id of the input; None if there is none.
    """

    index: int
    line: int
    text: str | None
    error: str | None
    verdict: Verdict
    id: str | int | None = None

    def to_dict(self, *, with_text: bool, with_id: bool = False) -> dict[str, Any]:
        """Return JSON-ready values, with the keys in the order of `columns`."""
        identity = {"id": self.id} if with_id else {}
        text = {"text": self.text} if with_text else {}
        return {"index": self.index, "line": self.line, **identity, **text, **self.verdict.to_dict()}


def columns(*, with_text: bool, with_id: bool = False) -> dict[str, type]:
    """Return the keys of a record in order, with the type of each value that is not null; an id may be a number too."""
    return {
        "index": int,
        "line": int,
        **({"id": str} if with_id else {}),
        **({"text": str} if with_text else {}),
        "verdict": str,
        "rejected": bool,
        "reason": str,
        "confidence": float,
        "gamma": float,
        "truncated": bool,
        "label": int,
        "label_name": str,
        "score": float,
        "outcome": str,
        "cause": str,
    }


def encodable(text: str) -> str:
    """Escape lone surrogates, which file names can contain and UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
