"""The verdict on one text, and what verdicts are counted by. Light to import: a client needs no model library for it.

There is one vocabulary. A text has passed, is taken for poisoned, or was not scored; the last two are *rejected*. Every
number that the package prints, answers, stores or exports by verdict uses these words, see docs/design/0002.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

Outcome = Literal["passed", "poisoned", "not_scored"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

#: What stopped a text: the guard's score; no text could be read; the tokenizer found no tokens or failed; the model
#: raised, or gave no finite number; the victim could not answer; or a detector that does not say what.
Cause = Literal["above_gamma", "not_read", "no_tokens", "tokenizer", "exception", "not_finite", "victim", "other"]
CAUSES: tuple[Cause, ...] = get_args(Cause)


class Failure(str):
    """Why there is no result for a text: a sentence that quotes nothing of the text, and its cause.

    It is a string, so that a detector may give a plain one; `cause_of` then says ``other``.

    Args:
        cause: one of `CAUSES`.
        says: the sentence.
    """

    __slots__ = ("cause",)
    cause: Cause

    def __new__(cls, cause: Cause, says: str) -> Self:  # noqa: D102
        made = super().__new__(cls, says)
        made.cause = cause
        return made

    def __getnewargs__(self) -> tuple[Cause, str]:  # type: ignore[override]
        """What a copy is made of, in another process too."""
        return self.cause, str(self)


def cause_of(failure: str) -> Cause:
    """The cause that a failure names; ``other`` for a plain string."""
    return failure.cause if isinstance(failure, Failure) else "other"


def cause_by_numbers(confidence: float | None, gamma: float) -> Cause:
    """What stopped a rejected text, as far as its numbers tell: records of older versions name no cause."""
    if confidence is None:
        return "other"
    return "above_gamma" if confidence > gamma else "victim"


def outcome_of(cause: Cause | None) -> Outcome:
    """The outcome that a cause makes; None: nothing stopped the text."""
    if cause is None:
        return "passed"
    return "poisoned" if cause == "above_gamma" else "not_scored"


@dataclass(frozen=True)
class Verdict:
    """What the guard, and behind it the victim, says of one text.

    Attributes:
        cause: what stopped the text, one of `CAUSES`; None when it passed. What cannot be judged is stopped.
        reason: the same in words, for people; None when it passed. Programs compare `cause`.
        confidence: the guard's score; None when there is none.
        gamma: the threshold it was compared with.
        truncated: the text was longer than the guard reads. The victim is given no more than the guard has read.
        label, label_name: the victim's class; None when rejected, or without a victim.
        score: the victim's probability of that class.
    """

    cause: Cause | None
    reason: str | None
    confidence: float | None
    gamma: float
    truncated: bool
    label: int | None = None
    label_name: str | None = None
    score: float | None = None

    @classmethod
    def scored(cls, confidence: float, *, gamma: float, flagged: bool, truncated: bool) -> Self:
        """Of a text that has a confidence; `flagged`: it is above gamma."""
        return cls("above_gamma" if flagged else None, "poisoned" if flagged else None, confidence, gamma, truncated)

    @classmethod
    def not_scored(cls, why: str, *, gamma: float, truncated: bool = False) -> Self:
        """Of a text without a confidence; `why` is a `Failure`, or a sentence."""
        return cls(cause_of(why), str(why), None, gamma, truncated)

    def unanswered(self) -> Self:
        """The guard's part alone, as without a victim."""
        return replace(self, label=None, label_name=None, score=None)

    @property
    def outcome(self) -> Outcome:
        """``passed``, ``poisoned`` (its confidence is above gamma) or ``not_scored`` (it could not be judged)."""
        return outcome_of(self.cause)

    @property
    def rejected(self) -> bool:
        """Poisoned or not scored: the victim's answer, if there was one, is not given."""
        return self.cause is not None

    @property
    def verdict(self) -> Literal["passed", "rejected"]:
        """`rejected` in a word. Deprecated: the next version has `outcome` alone."""
        return "rejected" if self.rejected else "passed"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = asdict(self)
        named = {"outcome": self.outcome, "cause": values.pop("cause")}
        return {"verdict": self.verdict, "rejected": self.rejected, **values, **named}


class Tally:
    """Verdicts counted: by outcome, and how many were of truncated texts.

    Args:
        outcomes, truncated: what was counted before.
    """

    def __init__(self, outcomes: Mapping[Outcome, int] | None = None, truncated: int = 0) -> None:
        self.outcomes: Counter[Outcome] = Counter({name: (outcomes or {}).get(name, 0) for name in OUTCOMES})
        self.truncated = truncated

    def add(self, verdicts: Iterable[Verdict]) -> Self:
        """Count these too."""
        for verdict in verdicts:
            self.outcomes[verdict.outcome] += 1
            self.truncated += verdict.truncated
        return self

    def to_dict(self) -> dict[str, int]:
        """``n``, the outcomes, ``truncated``, and ``rejected``: poisoned and not scored together."""
        n = self.outcomes.total()
        counts: dict[str, int] = {name: self.outcomes[name] for name in OUTCOMES}
        return {"n": n, **counts, "truncated": self.truncated, "rejected": n - counts["passed"]}
