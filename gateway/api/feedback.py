"""Routes of corrections: send, read, withdraw."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials

from gateway.api.access import bearer, caller
from gateway.api.feedback_bodies import CorrectionBody, FeedbackBody, PredictionCorrectionBody, TextCorrectionBody
from gateway.api.labels import check
from gateway.api.limits import classifier_of, require_room
from gateway.api.predictions import ACCEPT_SECONDS, TaskId, gone, json_response, kept, require_given
from gateway.api.problems import Problem, documented, retry_later
from gateway.api.state import Shared, shared
from gateway.api.tokens import ANONYMOUS, Token
from gateway.feedback.held import Held
from gateway.feedback.intake import MOST_OF_A_TEXT, Outcome
from gateway.feedback.tokens import correction_secret, is_valid
from gateway.records.ids import new_id, was_given
from gateway.records.record import Answer, State
from model.corrections import Correction, Source

HOLDER = "feedback token"  # author of requests with one; no bearer token has this name, since a name has no space

router = APIRouter(prefix="/api", tags=["corrections"])
Parts = Annotated[Shared, Depends(shared)]
Corrector = Annotated[Token, Depends(caller("feedback"))]
FeedbackToken = Annotated[
    str | None, Header(max_length=200, description="`feedback_token` of the answer, instead of a bearer token")
]
CorrectionId = Annotated[str, Path(alias="id", max_length=100, description="`correction_id`")]
LINKS = {
    name: {"operationId": name, "parameters": {"id": "$response.body#/correction_id"}}
    for name in ("read_correction", "withdraw_correction")
}
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": FeedbackBody,
        "description": "The correction is held, and will be stored.",
        "links": LINKS,
        "headers": {"Location": {"description": "address of the correction", "schema": {"type": "string"}}},
    }
}


@dataclass(frozen=True)
class Author:
    """Author of a request. token: None for the holder of a feedback token."""

    name: str
    token: Token | None
    feedback_token: str

    @property
    def source(self) -> Source:
        """Source of the correction. A bearer token belongs to a program."""
        return Source.VOLUNTEER if self.name in (HOLDER, ANONYMOUS) else Source.PROGRAM


async def author(
    request: Request,
    parts: Parts,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    feedback_token: FeedbackToken = None,
) -> Author:
    """Return the author of the request. Raises Problem 401, 403 or 429. A feedback token is checked by its route."""
    if feedback_token is None:
        token = await caller("feedback")(request, parts, credentials)
        return Author(token.name, token, "")
    request.state.caller = HOLDER
    return Author(HOLDER, None, feedback_token)


Sender = Annotated[Author, Depends(author)]


@router.post("/feedback", status_code=202, response_model=None, include_in_schema=False)
@router.post(
    "/feedback/",
    status_code=202,
    response_model=None,
    responses=ACCEPTED | documented(400, 401, 403, 413, 422, 429, 500, 503),
    operation_id="correct_text",
    summary="Correct a text",
)
async def correct_text(body: TextCorrectionBody, parts: Parts, token: Corrector) -> Response:
    """Accept the right labels of a text that a predictor labelled without the gateway."""
    require_room(parts)
    if len(body.text) > parts.config.max_characters:
        expected = f"expected at most {parts.config.max_characters}"
        raise Problem(413, "text-too-long", f"text has {len(body.text)} characters: {expected}.")
    classifier = classifier_of(body.classifier, parts.classifiers)
    details = {"text": body.text, "version": body.version, "predicted": body.predicted, "scores": body.scores}
    of = hashlib.sha256(f"{classifier}\n{body.text}".encode()).hexdigest()
    return await _accept(parts, classifier, body, Author(token.name, token, ""), details, of=of)


@router.post(
    "/feedback/{id}",
    status_code=202,
    response_model=None,
    responses=ACCEPTED | documented(400, 401, 403, 404, 409, 410, 413, 422, 429, 500, 503),
    operation_id="correct_prediction",
    summary="Correct a prediction",
)
async def correct_prediction(task_id: TaskId, body: PredictionCorrectionBody, parts: Parts, sender: Sender) -> Response:
    """Accept the right labels of a text whose prediction the gateway keeps.

    A feedback token corrects its own task only; a bearer token with the scope `feedback` corrects any task.
    """
    require_room(parts)
    require_given(parts, task_id)
    _require_feedback_token(parts, sender, task_id)
    record, texts = await kept(parts, task_id), await parts.intake.texts(task_id)
    if texts is None:
        raise gone()
    if record.state is not State.SUCCESS or record.answer is None:
        raise Problem(409, "no-answer", f"The task is {record.state.value}: expected one with an answer.")
    position = _position(body.position, len(texts))
    details = {"text": texts[position], "prediction_id": task_id, **_predicted(record.answer, position)}
    return await _accept(parts, record.classifier, body, sender, details, of=f"{task_id}:{position}")


async def known(correction_id: CorrectionId, parts: Parts, sender: Sender) -> Held:
    """Return the correction, if the caller may read it. Raises Problem 401, 403, 404 or 410."""
    if not was_given(correction_secret(parts.id_secret), correction_id):
        raise Problem(404, "unknown-id", "No correction has this id: expected a correction_id.")
    held = await parts.feedback.read(correction_id)
    if held is None:
        raise _over()
    if sender.token is None:
        _require_feedback_token(parts, sender, held.prediction_id or "")
    if held.author != sender.name and (sender.token is None or "admin" not in sender.token.scopes):
        raise Problem(404, "unknown-id", "No correction of this token has this id.")
    return held


Known = Annotated[Held, Depends(known)]
READING = documented(401, 403, 404, 410, 422, 429, 500, 503)


@router.get("/feedback/{id}", responses=READING, operation_id="read_correction", summary="Read the state of a correction")
async def read(held: Known) -> FeedbackBody:
    """Return the correction, and whether it is stored."""
    return FeedbackBody.of(held)


@router.delete("/feedback/{id}", responses=READING, operation_id="withdraw_correction", summary="Withdraw a correction")
async def withdraw(held: Known, parts: Parts) -> FeedbackBody:
    """Withdraw the correction: later trainings do not learn it. A held one is only stored if its batch is being stored."""
    await parts.feedback.withdraw(held)
    after = await parts.feedback.read(held.id)
    if after is None:
        raise _over()
    return FeedbackBody.of(after)


async def _accept(
    parts: Shared, classifier: str, body: CorrectionBody, sender: Author, details: dict[str, Any], *, of: str
) -> Response:
    """Check the labels, keep the correction and answer. details: fields of the row; of: key of the corrected text."""
    address = parts.classifiers.addresses.get(classifier)
    if address is None:
        raise Problem(422, "unknown-classifier", f'The classifier "{classifier}" is no longer known.')
    predicted = details.get("predicted") if "prediction_id" in details else None
    rule = await parts.labels.of(classifier, address)
    check(body.labels, rule, predicted=predicted or (), allow_new=parts.config.allow_new_labels)
    milliseconds = time.time_ns() // 1_000_000
    correction = Correction(
        id=new_id(correction_secret(parts.id_secret), milliseconds=milliseconds),
        time=datetime.fromtimestamp(milliseconds / 1000, UTC),  # Redis decides when it is accepted
        labels=tuple(body.labels),
        comment=body.comment,
        author=sender.name,
        source=sender.source,
        predictions_shown=body.predictions_shown,
        **details,
    )
    async with asyncio.timeout(ACCEPT_SECONDS):
        accepted = await parts.feedback.accept(classifier, correction, of=of)
    if accepted.outcome is Outcome.FULL:
        raise retry_later(
            503, "feedback-full", "Too many corrections wait to be stored. Send the request again later.", seconds=30
        )
    if accepted.outcome is Outcome.OFTEN:
        raise Problem(
            429,
            "corrected-too-often",
            f"The text has been corrected {MOST_OF_A_TEXT} times: no more corrections are accepted for now.",
        )
    held = await parts.feedback.read(accepted.id)
    if held is None:
        raise _over()
    return json_response(FeedbackBody.of(held), 202, {"Location": f"/api/feedback/{accepted.id}"})


def _over() -> Problem:
    return Problem(410, "gone", "The gateway no longer keeps this correction. If it was stored, it is still in the storage.")


def _require_feedback_token(parts: Shared, sender: Author, task_id: str) -> None:
    if sender.token is None and not is_valid(parts.id_secret, sender.feedback_token, task_id, now=time.time()):
        detail = "The header Feedback-Token is wrong or has expired: expected the feedback_token of this prediction's answer."
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def _position(given: int | None, texts: int) -> int:
    if given is None and texts > 1:
        raise Problem(
            422, "invalid-request", f"position is missing: expected 0 to {texts - 1}, since the task has {texts} texts."
        )
    if given is not None and given >= texts:
        raise Problem(422, "invalid-request", f"position is {given}: expected at most {texts - 1}.")
    return given or 0


def _predicted(answer: Answer, position: int) -> dict[str, Any]:
    row = answer.predictions[position]
    return {
        "version": answer.version,
        "predicted": row.labels,
        "scores": dict(zip(row.labels, row.scores, strict=True)),
        "thresholds": dict(zip(row.labels, row.thresholds or (), strict=False)),
    }
