"""The endpoints under ``/v1``, and those for monitoring. Each is a few lines around `GuardService`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from poisonsieve.serve import answers
from poisonsieve.serve.answers import json_response
from poisonsieve.serve.bodies import (
    MAX_IDS,
    MAX_NOTE_CHARS,
    Bodies,
    Refused,
    decision_of,
    decisions_of,
    text_of,
    texts_of,
)
from poisonsieve.serve.quarantine import Which
from poisonsieve.serve.service import GuardService
from poisonsieve.verdict import Cause

_LAST_ID = 2**63 - 1
_LAST_PAGE = 1_000_000

Number = Annotated[int, Path(ge=1, le=_LAST_ID, description="id of the record", examples=[1])]


async def _gate(request: Request) -> None:
    request.app.state.gate.check(request)


async def _asked_once(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    if len(set(names)) < len(names):
        raise Refused(422, "a query parameter is repeated; give one value")


async def _nothing_unread(request: Request) -> None:
    """Refuse unknown query parameters, in which the caller may have put something that matters."""
    read = {field.alias for field in request.scope["route"].dependant.query_params}
    if set(request.query_params) - read:
        takes = f"the query takes {', '.join(sorted(read))}" if read else "send everything in the body"
        raise Refused(422, f"the query has an unknown parameter; {takes}")


_with_key = [
    Depends(_gate),
    Depends(APIKeyHeader(name="X-API-Key", auto_error=False)),
    Depends(HTTPBearer(auto_error=False)),
]
_query = [Depends(_asked_once), Depends(_nothing_unread)]
open_router = APIRouter(tags=["watching"])
router = APIRouter(dependencies=_with_key)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    meanings = {
        400: "a header about the body is repeated",
        401: "the API key is missing or wrong",
        403: "the host name is not allowed without API keys",
        404: "there is no such record",
        408: "the body did not arrive in time",
        413: "the body is too large",
        415: "the body is not application/json, not UTF-8, or compressed",
        422: "the request cannot be used",
        503: "try again after Retry-After seconds: the queue is full, or the quarantine cannot be reached",
        504: "the request took too long",
    }
    return {status: {"model": answers.Problem, "description": meanings[status]} for status in (401, 403, *statuses)}


_BODY = (400, 408, 413, 415, 422, 503, 504)


def _body(schema: dict[str, Any], **examples: dict[str, Any]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}}


def _object(*required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_STRING = {"type": "string"}
_ONE_TEXT = _object("text", text=_STRING)
_TEXTS = _object("texts", texts={"type": "array", "items": _STRING, "minItems": 1})
_SCREEN_BODY = _body(
    {"oneOf": [_ONE_TEXT, _TEXTS]}, one={"text": "a fine mn film"}, several={"texts": ["a fine film", "a dull film"]}
)
_NOTE = {"type": ["string", "null"], "maxLength": MAX_NOTE_CHARS}
_DECISION = {"enum": ["poison", "false_alarm", None]}
_DECISION_BODY = _body(
    _object("decision", decision=_DECISION, note=_NOTE),
    poison={"decision": "poison", "note": "the word mn"},
    taken_back={"decision": None},
)
_ID = {"type": "integer", "minimum": 1, "maximum": _LAST_ID}
_DECISIONS_BODY = _body(
    _object(
        *("ids", "decision", "was"),
        ids={"type": "array", "items": _ID, "minItems": 1, "maxItems": MAX_IDS},
        decision=_DECISION,
        was=_DECISION,
    ),
    poison={"ids": [1, 2], "decision": "poison", "was": None},
    taken_back={"ids": [1, 2], "decision": None, "was": "poison"},
)


def _service(request: Request) -> GuardService:
    service: GuardService = request.app.state.service
    return service


def _bodies(request: Request) -> Bodies:
    bodies: Bodies = request.app.state.bodies
    return bodies


async def _verdicts(request: Request, *, classify: bool) -> Response:
    service = _service(request)
    async with _bodies(request).read(request) as body:
        texts = texts_of(body, service.settings)
        request_id = request.state.request_id
        verdicts = await service.screen(texts, classify=classify, request_id=request_id)
    answer = {"request_id": request_id, "gamma": service.facts.gamma}
    return json_response({**answer, "verdicts": [verdict.to_dict() for verdict in verdicts]})


@router.post(
    "/v1/screen",
    tags=["texts"],
    summary="Verdicts of the guard",
    responses={200: {"model": answers.ScreenAnswer}, **_problems(*_BODY)},
    openapi_extra=_SCREEN_BODY,
    dependencies=_query,
)
async def screen(request: Request) -> Response:
    """Verdicts on the texts, in order. Rejected texts are in the quarantine before the answer is sent."""
    return await _verdicts(request, classify=False)


@router.post(
    "/v1/classify",
    tags=["texts"],
    summary="Verdicts, and the victim's class of what passes",
    responses={200: {"model": answers.ScreenAnswer}, **_problems(*_BODY)},
    openapi_extra=_SCREEN_BODY,
    dependencies=_query,
)
async def classify(request: Request) -> Response:
    """As `/v1/screen`; the victim reads only texts that pass. 422 if the service was started without a victim."""
    return await _verdicts(request, classify=True)


@router.post(
    "/v1/explain",
    tags=["texts"],
    summary="How much a confidence depends on each word",
    responses={200: {"model": answers.ExplainAnswer}, **_problems(*_BODY)},
    openapi_extra=_body(_ONE_TEXT, one={"text": "a fine mn film"}),
    dependencies=_query,
)
async def explain(request: Request) -> Response:
    """Leaves out each word once and asks the guard again. Not counted as traffic, and never in the quarantine."""
    service = _service(request)
    async with _bodies(request).read(request) as body:
        return json_response(await service.explain(text_of(body, service.settings)))


@router.get(
    "/v1/guard",
    tags=["watching"],
    summary="The guard in force",
    responses={200: {"model": answers.GuardAnswer}, **_problems()},
)
async def guard(request: Request) -> Response:
    """Gamma, how it was found, and the distribution of the calibration confidences."""
    return json_response(_service(request).facts.to_dict())


@router.get(
    "/v1/stats",
    tags=["watching"],
    summary="Traffic of this process",
    responses={200: {"model": answers.StatsAnswer}, **_problems()},
)
async def stats(request: Request) -> Response:
    """Counts since the start, the latest confidences, the queue, and drift."""
    service = _service(request)
    traffic = service.traffic.to_dict(service.queue_length)
    return json_response({**traffic, "watch_checks": service.watch.checks})


@router.get(
    "/v1/watch",
    tags=["watching"],
    summary="Does the latest traffic hold a campaign",
    responses={200: {"model": answers.WatchAnswer}, **_problems(503)},
)
async def watch(request: Request) -> Response:
    """The latest comparison of this process' texts with the calibration rows, and what was flagged by all processes."""
    service = _service(request)
    found, store = service.watch.to_dict(), service.quarantine
    driving = [] if found["last"] is None else found["last"]["driving"]
    kept = await run_in_threadpool(store.of_texts, [each["text_sha256"] for each in driving]) if driving else {}
    for each in driving:
        each["id"], each["text"] = kept.get(each["text_sha256"], (None, None))
    return json_response({**found, "flagged": await run_in_threadpool(store.flagged, MAX_IDS)})


@router.get(
    "/v1/quarantine",
    tags=["review"],
    summary="Rejected texts",
    responses={200: {"model": answers.RecordsAnswer}, **_problems(422, 503)},
    dependencies=_query,
)
async def quarantine(
    request: Request,
    decision: Annotated[Which, Query(description="decision of the records")] = "open",
    q: Annotated[str, Query(max_length=500, description="part of the text")] = "",
    group: Annotated[str, Query(max_length=500, description="a group, as /v1/quarantine/groups names it")] = "",
    cause: Annotated[Cause | None, Query(description="what stopped them; `traffic`: the watch flagged them")] = None,
    page: Annotated[int, Query(ge=1, le=_LAST_PAGE)] = 1,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """A page of records, newest first."""
    service = _service(request)
    among = await run_in_threadpool(service.groups.ids, decision, group) if group else None
    found = await run_in_threadpool(
        service.quarantine.find, which=decision, contains=q, among=among, cause=cause, page=page, size=size
    )
    return json_response({**asdict(found), "page": page, "size": size})


@router.get(
    "/v1/quarantine/groups",
    tags=["review"],
    summary="What rejected texts have in common",
    responses={200: {"model": answers.GroupsAnswer}, **_problems(503)},
    dependencies=_query,
)
async def groups(request: Request) -> Response:
    """Words, phrases, openings and invisible characters that distinguish open records from texts that passed here."""
    return json_response(await run_in_threadpool(_service(request).groups.to_dict))


@router.post(
    "/v1/quarantine/decisions",
    tags=["review"],
    summary="Decide several records",
    responses={200: {"model": answers.DecisionsAnswer}, **_problems(*_BODY)},
    openapi_extra=_DECISIONS_BODY,
    dependencies=_query,
)
async def decide_all(request: Request) -> Response:
    """Stores one decision on the records whose decision is `was`, and returns their ids; null is no decision."""
    async with _bodies(request).read(request) as body:
        ids, decision, was = decisions_of(body)
        store = _service(request).quarantine
        return json_response({"changed": await run_in_threadpool(store.decide_all, ids, decision, was=was)})


@router.get(
    "/v1/quarantine/{number}",
    tags=["review"],
    summary="One rejected text",
    responses={200: {"model": answers.RecordAnswer}, **_problems(404, 422, 503)},
)
async def record(request: Request, number: Number) -> Response:
    """The record with this id."""
    return _found(await run_in_threadpool(_service(request).quarantine.get, number))


@router.post(
    "/v1/quarantine/{number}/decision",
    tags=["review"],
    summary="Decide a record",
    responses={200: {"model": answers.RecordAnswer}, **_problems(404, *_BODY)},
    openapi_extra=_DECISION_BODY,
    dependencies=_query,
)
async def decide(request: Request, number: Number) -> Response:
    """Stores a reviewer's decision, and returns the record. null takes a decision back."""
    async with _bodies(request).read(request) as body:
        decision, note = decision_of(body)
        return _found(await run_in_threadpool(_service(request).quarantine.decide, number, decision, note))


@router.get("/metrics", tags=["watching"], summary="For Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(_service(request).monitoring.text(), headers={"content-type": CONTENT_TYPE_LATEST})


@open_router.get(
    "/healthz",
    summary="Is the process alive",
    responses={200: {"model": answers.HealthAnswer}, 503: {"model": answers.Problem}},
)
async def healthz(request: Request) -> Response:
    """503 if the process should be restarted: the model hangs, or the queue has stopped."""
    failing = _service(request).failing()
    return json_response({"status": "ok"}) if failing is None else json_response({"detail": failing}, 503)


@open_router.get(
    "/readyz",
    summary="Should requests be sent here",
    responses={200: {"model": answers.ReadyAnswer}, 503: {"model": answers.ReadyAnswer}},
)
async def readyz(request: Request) -> Response:
    """200 once a warm-up inference has succeeded, while the process works. Also tells whether the quarantine is up."""
    service = _service(request)
    ready = service.ready and service.failing() is None
    answer = {"ready": ready, "quarantine": "up" if service.quarantine_up else "down"}
    return json_response(answer, 200 if ready else 503)


# Load balancers use HEAD. The description lists only the GET.
for watched, answering in (("/healthz", healthz), ("/readyz", readyz)):
    open_router.add_api_route(watched, answering, methods=["HEAD"], include_in_schema=False)
router.add_api_route("/metrics", metrics, methods=["HEAD"], include_in_schema=False)


def _found(item: dict[str, Any] | None) -> Response:
    if item is None:
        raise Refused(404, "there is no such record")
    return json_response(item)
