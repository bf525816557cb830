"""Errors of the predictor: their HTTP statuses, gRPC codes, and the sentences that clients get.

A sentence names the field, its value and what was expected. The SDK's errors are used where they fit: InvalidInput for errors of
the client, ModelNotFound, ModelNotReady and ServerNotReady.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from http import HTTPStatus
from typing import Any

import msgspec
from grpc import StatusCode
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady

from model.classifier import Selection

SELECTION_NAMES = [each.name for each in fields(Selection)]  # parameters that error messages mention


class TextsTooLarge(Exception):
    """The texts of one request together have too many characters."""

    def __init__(self, characters: int | str, limit: int) -> None:
        super().__init__(f"The request's texts have {characters} characters: expected at most {limit} in all.")


class BodyTooLarge(Exception):
    """The body of a request has too many bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is too large: expected at most {limit} bytes.")


class TooManyBytesInFlight(Exception):
    """The bodies of all requests in flight together have too many bytes."""

    retry_after = 1

    def __init__(self) -> None:
        super().__init__(f"Too many bytes are in flight. Retry in {self.retry_after} s.")


class QueueFull(Exception):
    """The queue holds too many texts or characters. retry_after: seconds, rounded up, until those are computed."""

    def __init__(self, waiting: int, capacity: int, retry_after: int, *, what: str = "texts") -> None:
        super().__init__(f"The queue is full: {waiting} {what} are waiting, of at most {capacity}. Retry in {retry_after} s.")
        self.retry_after = retry_after


class RequestTimedOut(Exception):
    """The request was not answered within the timeout that it set."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request exceeded its timeout of {seconds * 1e6:.0f} microseconds.")


class VersionNotFound(ModelNotFound):  # type: ignore[misc]
    """The model is served, but in another version."""

    def __init__(self, name: str, version: str, served: str) -> None:
        super().__init__(name)
        self.reason = f"Model {name} has no version {short_json(version)}: version {served} is served."


class ServiceNotFound(ModelNotFound):  # type: ignore[misc]
    """A health check names an unknown gRPC service."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(name)
        self.reason = f'Service {short_json(name)} is not known: expected "", {" or ".join(short_json(each) for each in known)}.'


class ServerStopping(ServerNotReady):  # type: ignore[misc]
    """The server stopped before it could answer the request."""

    def __init__(self) -> None:
        super().__init__("It is stopping and had no time left for this request.")


class TooManyWatchers(ServerNotReady):  # type: ignore[misc]
    """Too many clients watch the health of the server."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.error_msg = f"Too many clients watch: at most {limit} may. Use Check instead."  # not the SDK's "not ready"


# The first listed class in an error's MRO decides. Any other error is an internal one.
STATUSES: dict[type[Exception], tuple[HTTPStatus, StatusCode]] = {
    InvalidInput: (HTTPStatus.BAD_REQUEST, StatusCode.INVALID_ARGUMENT),
    ModelNotFound: (HTTPStatus.NOT_FOUND, StatusCode.NOT_FOUND),
    BodyTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, StatusCode.RESOURCE_EXHAUSTED),
    TextsTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, StatusCode.RESOURCE_EXHAUSTED),
    QueueFull: (HTTPStatus.TOO_MANY_REQUESTS, StatusCode.RESOURCE_EXHAUSTED),
    TooManyBytesInFlight: (HTTPStatus.TOO_MANY_REQUESTS, StatusCode.RESOURCE_EXHAUSTED),
    ModelNotReady: (HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.UNAVAILABLE),
    ServerNotReady: (HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.UNAVAILABLE),
    RequestTimedOut: (HTTPStatus.GATEWAY_TIMEOUT, StatusCode.DEADLINE_EXCEEDED),
    NotImplementedError: (HTTPStatus.NOT_IMPLEMENTED, StatusCode.UNIMPLEMENTED),
}


@dataclass(frozen=True)
class ErrorResponse:
    """Response to a failed request. retry_after: seconds after which to retry; None: a retry is useless."""

    http_status: HTTPStatus
    grpc_code: StatusCode
    sentence: str
    retry_after: int | None = None


def error_response(error: Exception) -> ErrorResponse:
    """Return the response to a request that failed with `error`. The response does not describe an internal error."""
    statuses = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if statuses is None:
        sentence = "Internal error: see the predictor's log."
        return ErrorResponse(HTTPStatus.INTERNAL_SERVER_ERROR, StatusCode.INTERNAL, sentence)
    retry_after = 1 if statuses[0] is HTTPStatus.SERVICE_UNAVAILABLE else getattr(error, "retry_after", None)
    return ErrorResponse(*statuses, str(error), retry_after)


MAX_VALUE_CHARACTERS = 40  # characters of a wrong value in an error message


def short_json(value: object) -> str:
    """Return a wrong value as JSON, cut if it is long."""
    if isinstance(value, str):
        value = value[:MAX_VALUE_CHARACTERS]  # quoting makes it longer again
    try:
        written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=repr)
    except RecursionError:  # the nesting is almost as deep as the parser allows
        return "..."
    return written if len(written) <= MAX_VALUE_CHARACTERS else f"{written[: MAX_VALUE_CHARACTERS - 3]}..."


def wrong_shape(shape: str) -> str:
    """Return the sentence about an invalid shape."""
    return f'input "text" has shape {shape}: expected [n] or [n,1], n being the number of texts'


def not_a_string(at: int, element: str) -> str:
    """Return the sentence about an element of the input that is not a string."""
    return f'input "text" has {element} at position {at}: expected a string'


def missing(field: str) -> str:
    """Return the sentence about a missing field, such as `inputs[0].data`."""
    return f"{field} is missing: expected {REQUIRED_FIELDS[field.rpartition('.')[2]]}"


# --- JSON bodies that cannot be read ----------------------------------------------------------------------------------

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # raised by msgspec
MAX_REREAD_BYTES = 64 * 1024  # of a body that is parsed again, without types, to show the wrong value
REQUIRED_FIELDS = {
    "inputs": "a list of one tensor",
    "name": "a string",
    "shape": "[n] or [n,1], n being the number of texts",
    "datatype": '"BYTES"',
    "data": "a list of strings",
    "instances": "a list of strings",
    "text": "a string",
}
# msgspec's names of types, and ours.
TYPE_NAMES = {
    "array": "a list",
    "object": "an object",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "bool | int | float | str": "a string, a number or a boolean",
    # Nested lists as data, and objects as instances, are accepted but not mentioned.
    "str | array": "a string",
    "str | object": "a string",
}
UNREAD = object()  # marks a value that was not parsed


def json_error_sentence(error: Exception, body: object) -> str:
    """Return the sentence about the first error in a body.

    error: one of JSON_ERRORS. body: bytes, or (v1) what the SDK parsed. Small bodies are parsed again, to show the wrong value,
    and to report invalid JSON before a wrong field.
    """
    whole = body
    if isinstance(body, bytes):
        whole = UNREAD
        if len(body) <= MAX_REREAD_BYTES:
            try:
                whole = msgspec.json.decode(body.decode())
            except UnicodeDecodeError as reason:
                return f"the body is not UTF-8 at byte {reason.start}"
            except JSON_ERRORS as reason:
                error = reason
    if isinstance(error, UnicodeDecodeError):
        return "the body is not UTF-8"
    if isinstance(error, RecursionError):
        return "the body is nested too deeply"
    message, _, path = str(error).partition(" - at `$")
    return _type_error_sentence(message, path.removesuffix("`").removeprefix("."), whole)


def _type_error_sentence(message: str, path: str, whole: object) -> str:
    """Return the sentence for msgspec's error `message` about the value at `path` in the body `whole`."""
    if field := re.fullmatch(r"Object missing required field `(.*)`", message):
        return missing(_join(path, field[1]))
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        field_path = _join(path, unknown[1][:MAX_VALUE_CHARACTERS])
        hint = f"{' and '.join(SELECTION_NAMES)} go in parameters"
        return f"{field_path} is not a field of this request: expected another name; {hint}"
    if message.startswith("Expected `array` of at "):  # only `shape` has a bounded length; msgspec may leave out the path
        _, value = _locate("inputs[0].shape", whole)
        return wrong_shape("of another length" if value is UNREAD else short_json(value))
    path, value = _locate(path, whole)
    if wrong := re.fullmatch(r"Expected `(.*?)(?: \| null)?`(?:, got `(.*)`| of length 1.*)", message):
        actual = TYPE_NAMES.get(wrong[2], wrong[2] or "a list") if value is UNREAD else short_json(value)
        if element := re.fullmatch(r"inputs\[0\]\.data\[(\d+)\](?:\[0\])?", path):
            return not_a_string(int(element[1]), actual)
        return f"{path or 'the body'} is {actual}: expected {TYPE_NAMES.get(wrong[1], wrong[1])}"
    return f"the body is not JSON: {message.removeprefix('JSON is malformed: ')}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _locate(path: str, whole: Any) -> tuple[str, object]:
    """Return a path such as `inputs[0].shape`, and the value there. msgspec writes [...] for the name of a parameter.

    The value is UNREAD if the body was not parsed, or if it repeats a field with different values.
    """
    place, parameter, _ = path.partition("[...]")
    value = whole
    try:
        for name, position in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
            value = value[name] if name else value[int(position)]
        if parameter:
            name, value = next(each for each in value.items() if isinstance(each[1], list | dict))
            return _join(place, name[:MAX_VALUE_CHARACTERS]), value
    except (LookupError, TypeError, AttributeError, StopIteration):
        return path, UNREAD
    return place, value
