"""What an error is called in HTTP and in gRPC: said in this one place."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from grpc import StatusCode
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady

# Every kind that REST must be told of; anything else that is raised is a fault of ours.
EXPECTED = (InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady, NotImplementedError)


@dataclass(frozen=True)
class Outcome:
    """An error's names, and the sentence that the client gets."""

    http: HTTPStatus
    grpc: StatusCode
    sentence: str


def outcome_of(error: Exception) -> Outcome:
    """How to tell the client; of a fault of ours, no more than that the log has it."""
    match error:
        case InvalidInput():
            return Outcome(HTTPStatus.BAD_REQUEST, StatusCode.INVALID_ARGUMENT, str(error))
        case ModelNotFound():
            return Outcome(HTTPStatus.NOT_FOUND, StatusCode.NOT_FOUND, str(error))
        case ModelNotReady() | ServerNotReady():
            return Outcome(HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.UNAVAILABLE, str(error))
        case NotImplementedError():
            return Outcome(HTTPStatus.NOT_IMPLEMENTED, StatusCode.UNIMPLEMENTED, str(error))
        case _:
            return Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, StatusCode.INTERNAL, "The predictor failed: its log says how.")
