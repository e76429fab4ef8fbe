"""The verdict on one text. Light to import, so that a client needs no model library for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Verdict:
    """What the guard, and behind it the victim, says of one text.

    Attributes:
        rejected: the text was stopped; the victim has not read it.
        reason: None when it passed; ``poisoned`` when its confidence exceeds gamma; else why it could not be judged.
            What cannot be judged is rejected.
        confidence: the guard's score; None when there is none.
        gamma: the threshold it was compared with.
        truncated: the text was longer than the guard reads. The victim is given no more than the guard has read.
        label, label_name: the victim's class; None when rejected, or without a victim.
        score: the victim's probability of that class.
    """

    rejected: bool
    reason: str | None
    confidence: float | None
    gamma: float
    truncated: bool
    label: int | None = None
    label_name: str | None = None
    score: float | None = None

    @property
    def verdict(self) -> Literal["passed", "rejected"]:
        """The verdict in a word."""
        return "rejected" if self.rejected else "passed"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"verdict": self.verdict, **asdict(self)}
