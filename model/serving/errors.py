"""What an error is called in HTTP and in gRPC: said in this one place."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from grpc import StatusCode
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady

from model.serving.asgi import BodyTooLarge, TooMuchAtOnce
from model.serving.batching import QueueFull
from model.serving.predictor import TimedOut
from model.serving.requests import TextsTooLarge

# Every kind that REST must be told of; anything else that is raised is a fault of ours.
EXPECTED = (InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady, QueueFull, TextsTooLarge, TimedOut)


@dataclass(frozen=True)
class Outcome:
    """An error's names, the sentence that the client gets, and the seconds after which to ask again."""

    http: HTTPStatus
    grpc: StatusCode
    sentence: str
    retry_after: int | None = None


def outcome_of(error: Exception) -> Outcome:
    """How to tell the client; of a fault of ours, no more than that the log has it."""
    retry_after = None
    match error:
        case InvalidInput():
            names = HTTPStatus.BAD_REQUEST, StatusCode.INVALID_ARGUMENT
        case ModelNotFound():
            names = HTTPStatus.NOT_FOUND, StatusCode.NOT_FOUND
        case BodyTooLarge() | TextsTooLarge():
            names = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, StatusCode.RESOURCE_EXHAUSTED
        case QueueFull() | TooMuchAtOnce():
            names = HTTPStatus.TOO_MANY_REQUESTS, StatusCode.RESOURCE_EXHAUSTED
            retry_after = error.retry_after
        case ModelNotReady() | ServerNotReady():
            names = HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.UNAVAILABLE
            retry_after = 1
        case TimedOut():
            names = HTTPStatus.GATEWAY_TIMEOUT, StatusCode.DEADLINE_EXCEEDED
        case NotImplementedError():
            names = HTTPStatus.NOT_IMPLEMENTED, StatusCode.UNIMPLEMENTED
        case _:
            failed = "The predictor failed: its log says how."
            return Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, StatusCode.INTERNAL, failed)
    return Outcome(*names, str(error), retry_after)
