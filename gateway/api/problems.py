"""Errors as problem documents (RFC 9457): type, title, status, detail, and further members."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from redis.exceptions import OutOfMemoryError, RedisError
from starlette.exceptions import HTTPException

from gateway.outcome_bodies import PROBLEM_PREFIX, problem_document
from model.escaping import printable
from model.fields import as_end_of_sentence

MEDIA_TYPE = "application/problem+json"
MAX_VALUE_CHARACTERS = 40  # of a wrong value
HTTP_KINDS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "content-too-large"}

logger = logging.getLogger(__name__)


class ProblemDocument(BaseModel):
    """Error in the form that a client gets."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description=f"{PROBLEM_PREFIX}NAME; NAME does not change between releases")
    title: str = Field(description="type in words")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="what was wrong, and what was expected")


class Problem(Exception):
    """Error of a request. kind: last part of its type; members: further members of the document."""

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})
        self.members = members

    def document(self) -> dict[str, object]:
        """Return the problem document."""
        return problem_document(self.status, self.kind, str(self), **self.members)

    def response(self) -> JSONResponse:
        """Return the problem document as a response."""
        return JSONResponse(self.document(), self.status, self.headers, media_type=MEDIA_TYPE)


def retry_later(status: int, kind: str, detail: str, *, seconds: int = 1) -> Problem:
    """Return a problem that is temporary. Its header Retry-After says when to send the request again."""
    return Problem(status, kind, detail, headers={"Retry-After": str(seconds)})


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of these error statuses for the OpenAPI document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {each: {"description": HTTPStatus(each).phrase, "content": content} for each in statuses}


def install(app: FastAPI) -> None:
    """Return every error of the application as a problem document."""

    async def problem(_: Request, error: Exception) -> JSONResponse:
        return _problem_of(error).response()

    for kind in (Problem, RequestValidationError, HTTPException, RedisError, TimeoutError, Exception):
        app.add_exception_handler(kind, problem)


def _problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return Problem(422, "invalid-request", _sentence(error.errors()))
        case HTTPException():
            kind = HTTP_KINDS.get(error.status_code, "refused")
            return Problem(error.status_code, kind, f"{error.detail}.".replace("..", "."), headers=error.headers)
        case OutOfMemoryError():
            return retry_later(503, "memory-full", "The memory for tasks is full. Send the request again later.", seconds=10)
        case RedisError() | TimeoutError():
            logger.warning("Redis is away: %s", error)
            return retry_later(503, "store-unavailable", "The store of tasks is not available. Send the request again.")
        case _:
            return Problem(500, "internal-error", "Internal error: see the gateway's log.")


def _sentence(errors: Sequence[Any]) -> str:
    """Return the first error as a sentence, with the number of further ones."""
    first = errors[0]
    if first["loc"] == ("body",) and not isinstance(first.get("input"), dict):
        return "The body is not a JSON object: expected one, and the header Content-Type: application/json."
    path = ".".join(str(part) for part in first["loc"][1:]) or f"the {first['loc'][0]}"
    found = "" if first["type"] in ("missing", "value_error") else f" is {_shown(first.get('input'))}"
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return printable(f"{path}{found}: {as_end_of_sentence(str(first['msg']))}{more}")


def _shown(value: object) -> str:
    """Return a wrong value as JSON in ASCII. A long one is cut."""
    if isinstance(value, str):
        value = value[:MAX_VALUE_CHARACTERS]
    elif isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    written = json.dumps(value, default=repr)
    return written if len(written) <= MAX_VALUE_CHARACTERS else f"{written[: MAX_VALUE_CHARACTERS - 3]}..."
