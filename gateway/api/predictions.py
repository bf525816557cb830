"""Routes of predictions: submit, read, follow, erase."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel
from redis.exceptions import RedisError

from gateway.api.access import caller
from gateway.api.finishes import FINAL
from gateway.api.limits import require_room, submission_of
from gateway.api.problems import Problem, documented, retry_later
from gateway.api.state import Shared, shared
from gateway.api.submission_bodies import PendingBody, SubmissionBody
from gateway.api.tokens import Token
from gateway.api.waiting import wish
from gateway.feedback.tokens import feedback_token
from gateway.outcome_bodies import AnswerBody
from gateway.records.ids import new_id, was_given
from gateway.records.intake import Accepted, Outcome
from gateway.records.record import Record, State

ACCEPT_SECONDS = 0.9  # a submission is answered within a second, even if Redis hangs
ENOUGH_HINTS = 16  # in the queue; a worker that takes one of them claims this task, too
EVENTS_SECONDS = 3600.0
POLL_HEADERS = {"Retry-After": "1"}

router = APIRouter(prefix="/api", tags=["predictions"])

Parts = Annotated[Shared, Depends(shared)]
Predictor = Annotated[Token, Depends(caller("predict"))]
Prefer = Annotated[list[str] | None, Header(description="`wait=5`: respond when the task has its outcome, or after 5 s")]
WaitSeconds = Annotated[
    float | None,
    Query(ge=0, alias="wait", description="seconds to wait, as in `Prefer: wait=`, for clients that cannot set headers"),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="any string, new for each task; a request that is repeated with the same key makes no second task",
    ),
]
TaskId = Annotated[str, Path(alias="id", max_length=100, description="`task_id` of the submission")]

LINKS = {  # operations on the task, for clients that read the OpenAPI document
    name: {"operationId": name, "parameters": {"id": "$response.body#/task_id"}} for name in ("read", "follow", "erase")
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": AnswerBody, "description": "The task has its answer.", "links": LINKS},
    202: {
        "model": PendingBody,
        "description": "The task has no outcome yet.",
        "links": LINKS,
        "headers": {
            "Location": {"description": "address of the task, after a submission", "schema": {"type": "string"}},
            "Retry-After": {"description": "seconds after which to ask again", "schema": {"type": "integer"}},
            "Preference-Applied": {
                "description": "wait that was applied, if the request had `Prefer: wait=`",
                "schema": {"type": "string"},
            },
        },
    },
}


@router.post("/predict", status_code=202, response_model=None, include_in_schema=False)
@router.post(
    "/predict/",
    status_code=202,
    response_model=None,
    responses=ANSWERS | documented(400, 401, 403, 413, 422, 429, 500, 502, 503),
    operation_id="submit",
    summary="Submit texts",
)
async def submit(
    request: Request,
    body: SubmissionBody,
    parts: Parts,
    token: Predictor,
    prefer: Prefer = None,
    wait: WaitSeconds = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store the texts as a task. Once the response is sent, the task is not lost, whatever fails."""
    require_room(parts)
    submission = submission_of(body, parts, owner=token.name, request_id=request.state.request_id)
    task_id = new_id(parts.id_secret, milliseconds=time.time_ns() // 1_000_000)
    async with asyncio.timeout(ACCEPT_SECONDS):
        accepted = await parts.intake.accept(task_id, submission, idempotency_key=idempotency_key)
    parts.metrics.submissions.labels(accepted.outcome.value).inc()
    _raise_if_not_accepted(accepted)
    if accepted.outcome is Outcome.ACCEPTED and accepted.hints < ENOUGH_HINTS:
        parts.hints.send_soon()
    headers = {"Location": f"/api/prediction/{accepted.id}"}
    waiting = wish(prefer or (), wait, longest=parts.config.max_wait_seconds)
    if waiting is not None:
        headers |= waiting.headers()
        try:
            record = await _wait(parts, accepted.id, waiting.seconds)
        except RedisError:  # the task is stored in any case
            record = None
        if record is not None:
            return _response(parts, record, headers)
    pending = PendingBody.at(accepted.id, accepted.created)
    return json_response(pending, 202, headers | POLL_HEADERS)


def require_given(parts: Shared, task_id: str) -> None:
    """Raise Problem 404 unless the gateway issued this id."""
    if not was_given(parts.id_secret, task_id):
        raise Problem(404, "unknown-id", "No task has this id: expected the task_id of a submission.")


async def kept(parts: Shared, task_id: str) -> Record:
    """Return the record of a task, whoever owns it. Raises Problem 410."""
    record = await parts.intake.read(task_id)
    if record is None:
        raise gone()
    return record


async def own(task_id: TaskId, parts: Parts, token: Predictor) -> Record:
    """Return the record of a task that belongs to the caller. Raises Problem 404 or 410."""
    require_given(parts, task_id)
    record = await kept(parts, task_id)
    if record.owner != token.name and "admin" not in token.scopes:
        raise Problem(404, "unknown-id", "No task of this token has this id.")
    return record


OwnRecord = Annotated[Record, Depends(own)]
READING = documented(401, 403, 404, 410, 422, 429, 500, 502, 503)


@router.get("/prediction/{id}", response_model=None, responses=ANSWERS | READING, operation_id="read", summary="Read the answer")
async def read(record: OwnRecord, parts: Parts, prefer: Prefer = None, wait: WaitSeconds = None) -> Response:
    """Return the answer, or 202 while there is no outcome. For a task that failed, return its problem document."""
    waiting = wish(prefer or (), wait, longest=parts.config.max_wait_seconds)
    if waiting is None:
        return _response(parts, record, {})
    last = record if record.state in FINAL else await _wait(parts, record.id, waiting.seconds)
    if last is None:
        raise gone()
    return _response(parts, last, waiting.headers())


@router.delete(
    "/prediction/{id}",
    status_code=204,
    response_model=None,
    responses=READING,
    operation_id="erase",
    summary="Erase texts and answer",
)
async def erase(record: OwnRecord, parts: Parts) -> Response:
    """Erase the task with its texts and its answer. An open task then gets no outcome."""
    await parts.intake.erase(record.id)
    return Response(status_code=204)


@router.get(
    "/prediction/{id}/events",
    response_class=EventSourceResponse,
    responses=READING,
    operation_id="follow",
    summary="Follow the task",
)
async def follow(known: OwnRecord, parts: Parts) -> AsyncIterator[ServerSentEvent]:
    """Send an event for each state of the task. The last one is `success` with the answer, or `failed` with the problem."""
    deadline, before = time.monotonic() + EVENTS_SECONDS, None
    record: Record | None = known
    while not parts.stopping.is_set() and time.monotonic() < deadline:
        if record is None:
            yield ServerSentEvent(event="gone", data={})
            return
        if record.state is State.SUCCESS:
            yield ServerSentEvent(event="success", data=_answer(parts, record))
            return
        if record.state is State.FAILED:
            yield ServerSentEvent(event="failed", data=_failure(record).document())
            return
        if record.state is not before:
            yield ServerSentEvent(event=record.state.value, data=PendingBody.of(record))
        before = record.state
        record = await _wait(parts, record.id, 1.0)


async def _wait(parts: Shared, task_id: str, seconds: float) -> Record | None:
    return await parts.finishes.wait(lambda: parts.intake.read(task_id), task_id, seconds=seconds, stopping=parts.stopping)


def _raise_if_not_accepted(accepted: Accepted) -> None:
    if accepted.outcome is Outcome.CONFLICT:
        raise Problem(
            422, "idempotency-key-reused", "The header Idempotency-Key came before with another body: expected a new key."
        )
    if accepted.outcome is Outcome.FULL:
        raise retry_later(503, "queue-full", "Too many tasks are waiting. Send the request again later.", seconds=5)


def _response(parts: Shared, record: Record, headers: dict[str, str]) -> Response:
    """Return the response for the task in its present state."""
    if record.state is State.SUCCESS:
        return json_response(_answer(parts, record), 200, headers)
    if record.state is State.FAILED:
        response = _failure(record).response()
        response.headers.update(headers)
        return response
    return json_response(PendingBody.of(record), 202, headers | POLL_HEADERS)


def _answer(parts: Shared, record: Record) -> AnswerBody:
    """Return the answer, with a feedback token that is valid while the answer is kept."""
    if parts.config.feedback_uri is None or record.finished is None:
        return AnswerBody.of(record)
    expires = int(record.finished / 1000 + parts.config.retention_seconds)
    return AnswerBody.of(record, feedback_token(parts.id_secret, record.id, expires=expires))


def _failure(record: Record) -> Problem:
    if record.failure is None:
        raise ValueError("the record has no failure")
    failure = record.failure
    return Problem(failure.status, failure.kind, failure.detail, task_id=record.id)


def gone() -> Problem:
    """Return the problem of a task that is no longer kept."""
    return Problem(410, "gone", "The task has been erased, or its time is over.")


def json_response(body: BaseModel, status: int, headers: dict[str, str]) -> Response:
    """Return the body as JSON."""
    return Response(body.model_dump_json(), status, headers, media_type="application/json")
