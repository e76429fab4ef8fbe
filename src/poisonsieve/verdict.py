"""The verdict on one text, and counting verdicts. Importing this needs no model library, so clients can use it.

There is one vocabulary: a text has passed, is considered poisoned, or was not scored; the last two are *rejected*. All
numbers that the package prints, returns, stores or exports by verdict use these words, see docs/design/0002.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

Outcome = Literal["passed", "poisoned", "not_scored"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

#: What stopped a text: the guard's score; the other texts it came with; no text could be read; the tokenizer found no
#: tokens or failed; the model raised, or gave no finite number; the text shows nothing; its end was not read, where that
#: is asked for; the victim could not answer; or a detector that does not say what.
Cause = Literal[
    "above_gamma",
    "traffic",
    "not_read",
    "no_tokens",
    "tokenizer",
    "exception",
    "not_finite",
    "empty",
    "truncated",
    "victim",
    "other",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)


class Failure(str):
    """The reason why there is no result for a text: a sentence that does not quote the text, and its cause.

    It is a string, so that a detector may also give a plain one, for which `cause_of` returns ``other``.

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
        """Return the arguments for copying and pickling."""
        return self.cause, str(self)


def cause_of(failure: str) -> Cause:
    """Return the cause of a failure; ``other`` for a plain string."""
    return failure.cause if isinstance(failure, Failure) else "other"


def cause_by_numbers(confidence: float | None, gamma: float) -> Cause:
    """Infer the cause of a rejection from its numbers, for records of older versions, which have no cause."""
    if confidence is None:
        return "other"
    return "above_gamma" if confidence > gamma else "victim"


def outcome_of(cause: Cause | None) -> Outcome:
    """Return the outcome that follows from a cause; None means that the text passed."""
    if cause is None:
        return "passed"
    return "poisoned" if cause in ("above_gamma", "traffic") else "not_scored"


@dataclass(frozen=True)
class Verdict:
    """The result of the guard, and of the victim behind it, for one text.

    Attributes:
        cause: why the text was rejected, one of `CAUSES`; None if it passed. A text that cannot be judged is rejected.
        reason: the same in words, for people; None if it passed. Programs should use `cause`.
        confidence: the guard's score; None if there is none.
        gamma: the threshold with which it was compared.
        truncated: whether the text was longer than the guard reads. The victim never reads more than the guard.
        label, label_name: the victim's class; None if rejected, or without a victim.
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
        """Make the verdict on a text with a confidence; `flagged` tells whether it is above gamma."""
        return cls("above_gamma" if flagged else None, "poisoned" if flagged else None, confidence, gamma, truncated)

    @classmethod
    def not_scored(cls, why: str, *, gamma: float, truncated: bool = False) -> Self:
        """Make the verdict on a text without a confidence; `why` is a `Failure` or a sentence."""
        return cls(cause_of(why), str(why), None, gamma, truncated)

    def of_a_campaign(self) -> Self:
        """Return the verdict on a text that passed by itself, and is rejected for what it shares with others."""
        return replace(self.unanswered(), cause="traffic", reason="stands apart together with other texts")

    def unanswered(self) -> Self:
        """Return the guard's part alone, as without a victim."""
        return replace(self, label=None, label_name=None, score=None)

    @property
    def outcome(self) -> Outcome:
        """``passed``, ``poisoned`` (its confidence is above gamma, or it is part of a campaign) or ``not_scored``."""
        return outcome_of(self.cause)

    @property
    def rejected(self) -> bool:
        """Whether the text is poisoned or was not scored; the victim's answer, if any, is withheld."""
        return self.cause is not None

    @property
    def verdict(self) -> Literal["passed", "rejected"]:
        """`rejected` as a word. Deprecated: the next version has only `outcome`."""
        return "rejected" if self.rejected else "passed"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        values = asdict(self)
        named = {"outcome": self.outcome, "cause": values.pop("cause")}
        return {"verdict": self.verdict, "rejected": self.rejected, **values, **named}


class Tally:
    """A count of verdicts by outcome, and of truncated texts.

    Args:
        outcomes, truncated: earlier counts to start from.
    """

    def __init__(self, outcomes: Mapping[Outcome, int] | None = None, truncated: int = 0) -> None:
        self.outcomes: Counter[Outcome] = Counter({name: (outcomes or {}).get(name, 0) for name in OUTCOMES})
        self.truncated = truncated

    def add(self, verdicts: Iterable[Verdict]) -> Self:
        """Add verdicts to the count."""
        for verdict in verdicts:
            self.outcomes[verdict.outcome] += 1
            self.truncated += verdict.truncated
        return self

    def to_dict(self) -> dict[str, int]:
        """Return ``n``, the outcomes, ``truncated``, and ``rejected``: poisoned and not scored together."""
        n = self.outcomes.total()
        counts: dict[str, int] = {name: self.outcomes[name] for name in OUTCOMES}
        return {"n": n, **counts, "truncated": self.truncated, "rejected": n - counts["passed"]}
