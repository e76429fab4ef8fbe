"""Models of the service's answers for its OpenAPI description, and writing JSON."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from poisonsieve.guard.traffic import Finding
from poisonsieve.serve.watch import State
from poisonsieve.verdict import Cause, Outcome

_GUARD = "5f2c1f0f5b0a"
_OUTCOME = "poisoned: its confidence is above gamma; not_scored: it could not be judged. Both are rejected."


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return JSON in ASCII: a text may contain a lone surrogate, which JSON can escape but UTF-8 cannot encode."""
    body = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(body.encode("ascii"), status, headers, media_type="application/json")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(_Answer):
    """Why a request was refused."""

    detail: str = Field(examples=["wrong API key"])


class VerdictAnswer(_Answer):
    """The verdict on one text."""

    verdict: Literal["passed", "rejected"] = Field(deprecated=True, examples=["rejected"])
    rejected: bool = Field(description="poisoned or not scored", examples=[True])
    reason: str | None = Field(description="the cause in words; null if it passed", examples=["poisoned"])
    confidence: float | None = Field(description="null if it could not be scored", examples=[0.998])
    gamma: float = Field(examples=[0.93])
    truncated: bool = Field(description="neither guard nor victim read the text's end", examples=[False])
    label: int | None = Field(description="/v1/classify: the victim's class, if the text passed", examples=[None])
    label_name: str | None = Field(examples=[None])
    score: float | None = Field(description="the victim's probability of that class", examples=[None])
    outcome: Outcome = Field(description=_OUTCOME, examples=["poisoned"])
    cause: Cause | None = Field(description="what stopped it; null if it passed", examples=["above_gamma"])


class ScreenAnswer(_Answer):
    """One verdict per text, in order."""

    request_id: str = Field(examples=["6f1c0a52a1c94a0f8a5e5b0e3f6e4d21"])
    gamma: float = Field(examples=[0.93])
    verdicts: list[VerdictAnswer]


class WordAnswer(_Answer):
    """A word, and the confidence without it."""

    word: str = Field(examples=["mn"])
    confidence_without: float | None = Field(examples=[0.61])
    effect: float = Field(description="confidence minus confidence_without; 0 if one is null", examples=[0.388])


class ExplainAnswer(_Answer):
    """How much the confidence depends on each word."""

    confidence: float | None = Field(examples=[0.998])
    gamma: float = Field(examples=[0.93])
    words: list[WordAnswer]
    truncated: bool = Field(description="some words were not tested, or the guard does not read to the end")


class HistogramAnswer(_Answer):
    """Counts between edges, of which there is one more."""

    edges: list[float]
    counts: list[int]


class GuardAnswer(_Answer):
    """The guard in force."""

    defense: str = Field(examples=["psim"])
    gamma: float = Field(examples=[0.93])
    rule: Literal["fixed", "frr"] = Field(examples=["frr"])
    frr: float | None = Field(
        description="at most this share of clean text is rejected; null where gamma was fixed by hand",
        examples=[0.01],
    )
    frr_confidence: float | None = Field(
        description="the confidence of that promise; null where the rate is kept to on average only", examples=[0.95]
    )
    calibration_rows: int = Field(examples=[500])
    label_names: list[str] = Field(examples=[["negative", "positive"]])
    guard_digest: str = Field(examples=[_GUARD])
    victim: bool
    score_range: list[float | None] = Field(description="lowest and highest; null for an open end", examples=[[0, 1]])
    histogram: HistogramAnswer


class RecentAnswer(_Answer):
    """The latest confidences, by verdict."""

    edges: list[float]
    counts_passed: list[int]
    counts_rejected: list[int]


class DriftAnswer(_Answer):
    """Distance of recent confidences from those of the calibration rows; null while there are too few."""

    ks: float | None
    bar: float | None
    psi: float | None
    drifted: bool | None
    recent_texts: int
    calibration_rows: int


class StatsAnswer(_Answer):
    """Traffic of this process since it started."""

    passed: int
    poisoned: int = Field(description="their confidence is above gamma")
    not_scored: int = Field(description="rejected for another reason")
    rejected: int = Field(deprecated=True, description="`poisoned`")
    unscorable: int = Field(deprecated=True, description="`not_scored`")
    since: str = Field(examples=["2026-01-31T08:00:00+00:00"])
    recent: RecentAnswer
    queue_length: int
    drift: DriftAnswer
    watch_checks: int = Field(description="comparisons so far, see /v1/watch")


class WatchedClassAnswer(_Answer):
    """The compared texts that the guard's network takes for a class."""

    label: int
    label_name: str
    texts: int
    above: int = Field(description="those that stand apart, one by one")


class DrivingAnswer(_Answer):
    """A text of a campaign."""

    text_sha256: str
    request_id: str = Field(description="the latest request with this text")
    text_index: int = Field(description="its position among the texts of the request, from 0")
    outcome: Outcome = Field(description="what was answered")
    score: float = Field(description="how much it stands apart; comparable within one check only")
    id: int | None = Field(description="of its newest record in the quarantine; null if it has none")
    text: str | None = Field(description="as that record keeps it")


class CheckAnswer(_Answer):
    """A comparison of the latest texts with the calibration rows."""

    time: str
    seconds: float
    finding: Finding = Field(description="only a campaign raises the alarm", examples=["campaign"])
    says: str
    p_value: float
    texts: int = Field(description="distinct texts that were compared")
    apart: float = Field(description="estimated share of them that stands apart")
    bar: float = Field(description="score above which a text stands apart")
    above: int = Field(description="texts above the bar")
    above_of_label: int
    label: int | None = Field(description="the class that the texts above the bar are mostly of")
    label_name: str | None
    by_class: list[WatchedClassAnswer]
    flagged: int = Field(description="texts of the campaign")
    passed: int = Field(description="those of them that the guard had passed, which are flagged")
    driving: list[DrivingAnswer] = Field(description="the texts of the campaign that stand apart most")


class WatchAnswer(_Answer):
    """The watch of this process over its traffic, and the texts that the watches of all processes have flagged."""

    state: State
    off: str | None = Field(description="why the traffic is not watched")
    alarm_since: str | None
    texts: int = Field(description="distinct texts that would be compared now")
    min_texts: int = Field(description="texts that must come before the next check")
    interval_s: float = Field(description="seconds between two checks, at least")
    false_alarm_days: float = Field(description="days in which one false alarm is allowed on average")
    level: float = Field(description="significance level of a check that follows from these")
    checks: int
    last: CheckAnswer | None
    flagged: list[int] = Field(description="ids of the newest open records of texts that had passed")


class RecordAnswer(_Answer):
    """A rejected text."""

    id: int
    time: str = Field(examples=["2026-01-31T08:00:00.000000+00:00"])
    text: str | None = Field(description="null if only hashes are kept; only the beginning of a very long text")
    text_sha256: str = Field(description="of the whole text")
    text_chars: int
    confidence: float | None
    gamma: float
    reason: str = Field(description="the cause in words", examples=["poisoned"])
    outcome: Outcome = Field(description=_OUTCOME, examples=["poisoned"])
    cause: Cause = Field(description="what stopped it", examples=["above_gamma"])
    guard_digest: str = Field(examples=[_GUARD])
    request_id: str
    text_index: int = Field(description="its position among the texts of the request, from 0")
    decision: Literal["poison", "false_alarm"] | None
    decided_at: str | None
    note: str | None


class RecordsAnswer(_Answer):
    """A page of records, newest first."""

    items: list[RecordAnswer]
    total: int
    damaged: list[int] = Field(
        description="ids of this page's records that are damaged in the database", examples=[[]]
    )
    page: int
    size: int


class GroupAnswer(_Answer):
    """Rejected texts that have something in common."""

    kind: Literal["contains", "begins", "character"]
    phrase: str = Field(description="in lower case, or a character as U+200B", examples=["mn"])
    rejected: int = Field(description="rejected texts that have it", examples=[25])
    of_rejected: int = Field(examples=[30])
    passed: int = Field(description="passed texts that have it", examples=[2])
    of_passed: int = Field(examples=[970])
    p_value: float = Field(description="of Fisher's exact test, corrected for all that was tested", examples=[1e-30])
    says: str = Field(examples=['25 of 30 texts rejected as poisoned contain "mn" (2 of 970 passed ones do)'])
    group: str = Field(description="the group's name, to list its records", examples=["contains:mn"])
    ids: list[int] = Field(description="of its records")


class GroupsAnswer(_Answer):
    """What the newest open records have in common, the strongest first."""

    groups: list[GroupAnswer]
    rejected_texts: int = Field(description="open records that were compared")
    passed_texts: int = Field(description="latest texts that passed in this process, with which they were compared")


class DecisionsAnswer(_Answer):
    """What was changed."""

    changed: list[int] = Field(description="ids of the records that had the decision `was`")


class HealthAnswer(_Answer):
    """The process works."""

    status: Literal["ok"]


class ReadyAnswer(_Answer):
    """Whether requests should be sent here."""

    ready: bool
    quarantine: Literal["up", "down"]
