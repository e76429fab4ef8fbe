"""What the client makes of answers: a verdict that the guard could have given, or an error."""

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_client import VERDICT, answering

from poisonsieve.errors import ServiceError
from poisonsieve.verdict import CAUSES, outcome_of

pytest_plugins = ["serving"]

NO_CLASS = {"label": None, "label_name": None, "score": None}
PASSED = {**VERDICT, **NO_CLASS}
REJECTED = {
    **{**PASSED, "verdict": "rejected", "rejected": True, "reason": "poisoned", "confidence": 0.95},
    **{"outcome": "poisoned", "cause": "above_gamma"},
}
NOT_SCORED = {**REJECTED, "outcome": "not_scored"}
UNSCORED = {**NOT_SCORED, "reason": "no tokens in the text", "cause": "no_tokens", "confidence": None}
VICTIM_FAILED = {**NOT_SCORED, "reason": "victim: RuntimeError", "cause": "victim", "confidence": 0.5}
NEW_KEYS = ("outcome", "cause")
CLASS = {"label": 1, "label_name": "good", "score": 0.75}


def received(verdicts, *, call="screen", status=200, **answer):
    client, _ = answering(httpx.Response(status, text=json.dumps({"verdicts": verdicts, **answer})))
    return getattr(client, call)(["a"] * len(verdicts))


@pytest.mark.parametrize(
    "verdict",
    [
        *(VERDICT, PASSED, REJECTED, UNSCORED, VICTIM_FAILED),
        *({**PASSED, "confidence": 0.9}, {**VERDICT, "label": 0}, {**VERDICT, "score": 1}, {**VERDICT, "score": 0.0}),
        *({**PASSED, "confidence": -3.5, "gamma": -2}, {**PASSED, "truncated": True}),
    ],
)
def test_what_a_guard_can_say_is_a_verdict(verdict):
    (found,) = received([verdict], gamma=verdict["gamma"], request_id="r")
    assert found.to_dict() == verdict


@pytest.mark.parametrize(
    ("verdict", "damage"),
    [
        *((PASSED, {"confidence": confidence}) for confidence in (0.9000001, 1, 10**400, None)),
        *((PASSED, {"reason": reason}) for reason in ("poisoned", "", " ")),
        *((PASSED, {"verdict": word}) for word in ("rejected", "Passed", "", None, ["passed"])),
        (PASSED, {"rejected": True}),
        *((PASSED, {"outcome": word}) for word in ("poisoned", "not_scored", "Passed", "rejected", "", None)),
        *((PASSED, {"cause": cause}) for cause in ("above_gamma", "other", "", 3)),
        *((REJECTED, {"outcome": word}) for word in ("passed", "not_scored", "rejected", None)),
        *((REJECTED, {"cause": cause}) for cause in (None, "victim", "unheard of", 3)),
        *((UNSCORED, {"cause": cause}) for cause in (None, "above_gamma", True)),
        (UNSCORED, {"confidence": 0.95}),
        *((PASSED, {"gamma": gamma}) for gamma in (10**400, -(10**400), None, True, "0.9")),
        *((REJECTED, {"confidence": confidence}) for confidence in (0.9, 0.1, None)),
        *((UNSCORED, {"reason": reason}) for reason in (None, "", "\n")),
        *((rejected, CLASS) for rejected in (REJECTED, UNSCORED, VICTIM_FAILED)),
        *((REJECTED, {key: value}) for key, value in CLASS.items()),
        *((VERDICT, {key: None}) for key in CLASS),
        *((PASSED, {key: value}) for key, value in CLASS.items()),
        *((VERDICT, {"label": label}) for label in (-1, 1.0, True, 10**400, 2**31)),
        *((VERDICT, {"score": score}) for score in (-0.01, 1.01, 7, 10**400, True)),
    ],
)
def test_what_no_guard_says_is_an_error(verdict, damage):
    for verdicts in ([{**verdict, **damage}], [PASSED, {**verdict, **damage}]):
        with pytest.raises(ServiceError) as refused:
            received(verdicts)
        assert "\n" not in str(refused.value)


@given(
    confidence=st.floats(-1, 2) | st.none(),
    gamma=st.floats(-1, 2) | st.none(),
    rejected=st.booleans(),
    reason=st.none() | st.just("poisoned") | st.text(max_size=3),
    cause=st.none() | st.sampled_from([*CAUSES, ""]),
    given_class=st.fixed_dictionaries(
        {
            "label": st.none() | st.integers(-1, 2),
            "label_name": st.none() | st.text(max_size=2),
            "score": st.none() | st.floats(-1, 2),
        }
    ),
)
def test_no_verdict_passes_a_text_that_it_does_not_clear(confidence, gamma, rejected, reason, cause, given_class):
    verdict = {
        **{"outcome": outcome_of(cause), "cause": cause},
        **{"verdict": "rejected" if rejected else "passed", "rejected": rejected, "reason": reason},
        **{"confidence": confidence, "gamma": gamma, "truncated": False, **given_class},
    }
    try:
        (found,) = received([verdict], call="classify")
    except ServiceError:
        return
    known = cause if cause in (None, *CAUSES) else "other"  # what a newer service may say
    assert found.to_dict() == {**verdict, "cause": known}
    if not found.rejected:
        assert found.confidence <= found.gamma and found.reason is None
        assert found.label >= 0 and found.label_name is not None and 0 <= found.score <= 1
    else:
        assert found.reason.strip() and (found.outcome != "poisoned" or found.confidence > found.gamma)
        assert (found.label, found.label_name, found.score) == (None, None, None)


@pytest.mark.parametrize("gamma", [0.1, 0.90001, None, "0.9", True, 10**400, [0.9]])
def test_an_answer_of_another_gamma_than_its_verdicts_is_an_error(gamma):
    with pytest.raises(ServiceError):
        received([PASSED], gamma=gamma)


def test_verdicts_of_several_gammas_are_an_error():
    with pytest.raises(ServiceError, match="several gammas"):
        received([PASSED, {**PASSED, "gamma": 0.8}])


def test_what_was_classified_and_passed_has_a_label():
    with pytest.raises(ServiceError, match="no label"):
        received([VERDICT, PASSED], call="classify")
    assert [verdict.rejected for verdict in received([VERDICT, REJECTED], call="classify")] == [False, True]


def test_keys_of_a_newer_service_are_left_alone():
    newer = {**VERDICT, "detector": "another", "label_probabilities": [0.25, 0.75]}
    (found,) = received([newer], region="north")
    assert found.to_dict() == VERDICT


def test_a_newer_service_may_name_causes_of_its_own_and_leave_out_the_old_word():
    newer = {**UNSCORED, "cause": "too_long"}
    del newer["verdict"]
    (found,) = received([newer])
    assert (found.outcome, found.cause, found.reason) == ("not_scored", "other", UNSCORED["reason"])


@pytest.mark.parametrize("verdict", [VERDICT, PASSED, REJECTED, UNSCORED, VICTIM_FAILED])
def test_a_service_of_the_version_before_is_understood(verdict):
    """It says what was rejected, and not in a word why."""
    (found,) = received([{key: value for key, value in verdict.items() if key not in NEW_KEYS}])
    known = {**verdict, "cause": "other"} if verdict is UNSCORED else verdict
    assert found.to_dict() == known


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("missing", sorted(VERDICT))
def test_a_verdict_without_one_of_its_keys_is_an_error(missing, old):
    left = {key for key in VERDICT if key != missing and not (old and key in NEW_KEYS)}
    if left == set(VERDICT) - {"verdict"} or (old and missing in NEW_KEYS):
        return  # that is a whole answer, of a newer version or of the one before
    with pytest.raises(ServiceError, match="incomplete verdict"):
        received([{key: value for key, value in VERDICT.items() if key in left}])


@pytest.mark.parametrize("status", [201, 202, 203, 206, 226, 299, 302, 304, 400, 500])
def test_no_status_but_200_is_an_answer(status):
    with pytest.raises(ServiceError, match=str(status)):
        received([VERDICT], status=status)


def test_a_refusal_is_one_line_that_no_terminal_obeys():
    for detail in ("a\nb\x1b[31m", ["a\nb"], {"a": "\x1b"}):
        client, _ = answering(httpx.Response(422, json={"detail": detail}))
        with pytest.raises(ServiceError, match="422") as refused:
            client.screen(["a"])
        assert str(refused.value).isprintable()
