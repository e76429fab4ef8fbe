"""Validate the service's answers in the client; an invalid answer gives no verdict on any text."""

from __future__ import annotations

import math
from typing import Any

from poisonsieve.errors import ServiceError
from poisonsieve.verdict import CAUSES, Cause, Verdict, cause_by_numbers

_NONE = type(None)
_NUMBER: tuple[type, ...] = (float, int)
_MOST_LABELS = 2**31
#: Keys of every verdict, and their types.
_KEYS: dict[str, tuple[type, ...]] = {
    "rejected": (bool,),
    "reason": (str, _NONE),
    "confidence": (*_NUMBER, _NONE),
    "gamma": _NUMBER,
    "truncated": (bool,),
    "label": (int, _NONE),
    "label_name": (str, _NONE),
    "score": (*_NUMBER, _NONE),
}
#: Names of the outcome: in this version and later, and in the previous version, which is still accepted.
_NAMES: dict[str, tuple[type, ...]] = {"outcome": (str,), "cause": (str, _NONE)}
_OLD_NAME: dict[str, tuple[type, ...]] = {"verdict": (str,)}


def verdicts_of(answer: dict[str, Any], count: int, *, classified: bool) -> list[Verdict]:
    """Return the verdicts of an answer, in order; unknown keys are ignored.

    Args:
        answer: answer of ``/v1/screen`` or ``/v1/classify``.
        count: number of texts that were sent.
        classified: whether texts that pass must have a class.

    Raises:
        ServiceError: there is another number of verdicts, or one is damaged or contradicts itself, the others or the
            answer.
    """
    received = answer.get("verdicts")
    if not isinstance(received, list) or len(received) != count:
        found = len(received) if isinstance(received, list) else "no"
        raise ServiceError(f"the service gave {found} verdicts for {count} texts; is it poisonsieve?")
    verdicts = [_verdict(each) for each in received]
    gammas = [verdict.gamma for verdict in verdicts]
    if "gamma" in answer:
        gammas.append(_number(answer["gamma"]))
    if len(set(gammas)) > 1:
        raise _contradiction("it names several gammas")
    if classified and any(verdict.label is None for verdict in verdicts if not verdict.rejected):
        raise _contradiction("what passed has no label")
    return verdicts


def _verdict(answer: Any) -> Verdict:
    if not isinstance(answer, dict):
        raise _incomplete()
    named = [names for names in (_NAMES, _OLD_NAME) if set(names) & set(answer)]
    expected = {key: kinds for names in (_KEYS, *named) for key, kinds in names.items()}
    if not named or not set(expected) <= set(answer):
        raise _incomplete()
    if any(type(answer[key]) not in kinds for key, kinds in expected.items()):  # exact types: True is not a number
        raise _damaged()
    values = {key: answer[key] for key in _KEYS if key != "rejected"}
    values |= {key: _number(values[key]) for key in ("confidence", "gamma", "score") if values[key] is not None}
    verdict = Verdict(cause=_cause(answer, values["confidence"], values["gamma"]), **values)
    if any(answer[name] != getattr(verdict, name) for name in ("rejected", "outcome", "verdict") if name in answer):
        raise _contradiction("its names of the outcome differ")
    wrong = _contradicting(verdict)
    if wrong is not None:
        raise _contradiction(wrong)
    return verdict


def _cause(answer: dict[str, Any], confidence: float | None, gamma: float) -> Cause | None:
    """Return what stopped the text; ``other`` for a cause that only a newer service knows."""
    if "cause" not in answer:
        return cause_by_numbers(confidence, gamma) if answer["rejected"] else None
    cause: Cause | None = answer["cause"]
    return cause if cause is None or cause in CAUSES else "other"


def _contradicting(verdict: Verdict) -> str | None:
    """Return what a guard could not have answered, if anything."""
    above = verdict.confidence is not None and verdict.confidence > verdict.gamma
    if verdict.rejected:
        if not (verdict.reason or "").strip():
            return "it is rejected without a reason"
        if (verdict.outcome == "poisoned") != above:
            return "it is poisoned although its confidence is not above gamma, or the other way round"
    elif verdict.reason is not None:
        return "it passed with a reason to reject it"
    elif verdict.confidence is None or above:
        return "it passed although its confidence is missing or above gamma"
    return _contradicting_class(verdict)


def _contradicting_class(verdict: Verdict) -> str | None:
    given = [value is not None for value in (verdict.label, verdict.label_name, verdict.score)]
    if verdict.rejected and any(given):
        return "it is rejected and has a class"
    if any(given) and not all(given):
        return "it has only some of label, label_name and score"
    if verdict.label is not None and not 0 <= verdict.label < _MOST_LABELS:
        return "its label is not a class"
    if verdict.score is not None and not 0 <= verdict.score <= 1:
        return "its score is not a probability"
    return None


def _number(value: Any) -> float:
    try:
        number = float(value) if type(value) in _NUMBER else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _damaged()
    return number


def _incomplete() -> ServiceError:
    return ServiceError("the service gave an incomplete verdict; there is no verdict on any of its texts")


def _damaged() -> ServiceError:
    return ServiceError("the service gave a damaged verdict; there is no verdict on any of its texts")


def _contradiction(what: str) -> ServiceError:
    return ServiceError(f"the service's answer contradicts itself ({what}); there is no verdict on any of its texts")
