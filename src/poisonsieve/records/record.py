"""One input and its verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from poisonsieve.verdict import Verdict

#: Takes the next record.
Put: TypeAlias = Callable[["Record"], None]


@dataclass(frozen=True, slots=True)
class Record:
    """One input and its verdict.

    Attributes:
        index: position among the inputs, from 0.
        line: line in the source that the input starts on, from 1; in Parquet the row.
        text: what was screened; None exactly when `error` is set.
        error: why the input could not be read; None when it could.
        verdict: what guard and victim say.
        id: what the caller knows the input by; None where it was not told.
    """

    index: int
    line: int
    text: str | None
    error: str | None
    verdict: Verdict
    id: str | int | None = None

    def to_dict(self, *, with_text: bool, with_id: bool = False) -> dict[str, Any]:
        """JSON-ready, the keys in the order of `columns`."""
        identity = {"id": self.id} if with_id else {}
        text = {"text": self.text} if with_text else {}
        return {"index": self.index, "line": self.line, **identity, **text, **self.verdict.to_dict()}


def columns(*, with_text: bool, with_id: bool = False) -> dict[str, type]:
    """The keys of a record in their order, and what stands under each where it is not null; an id may be a number too."""
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
    """The text with an escape for each lone surrogate, as the name of a file can hold: UTF-8 has no bytes for it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
