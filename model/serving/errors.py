"""Errors of the predictor: their HTTP statuses, gRPC codes, and the sentences that clients get.

A sentence names the field, its value and what was expected. The SDK's errors are used where they fit: InvalidInput for what
a client got wrong, ModelNotFound, ModelNotReady and ServerNotReady.
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

SELECTION_NAMES = [each.name for each in fields(Selection)]  # of parameters that a client may look for


class TextsTooLarge(Exception):
    """The texts of one request have too many characters in all."""

    def __init__(self, characters: int | str, limit: int) -> None:
        super().__init__(f"The request's texts have {characters} characters: expected at most {limit} in all.")


class BodyTooLarge(Exception):
    """The body of a request has too many bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is too large: expected at most {limit} bytes.")


class TooManyBytesInFlight(Exception):
    """The bodies of all requests that arrive or wait for their responses have too many bytes."""

    retry_after = 1

    def __init__(self) -> None:
        super().__init__(f"Too much is being sent at once. Ask again in {self.retry_after} s.")


class QueueFull(Exception):
    """The queue holds too many texts or characters. `retry_after`: whole seconds until those are computed."""

    def __init__(self, waiting: int, capacity: int, retry_after: int, *, what: str = "texts") -> None:
        super().__init__(f"The queue is full: {waiting} {what} wait, of at most {capacity}. Ask again in {retry_after} s.")
        self.retry_after = retry_after


class RequestTimedOut(Exception):
    """The request was not answered within the timeout that it set."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request was not answered within its timeout of {seconds * 1e6:.0f} microseconds.")


class VersionNotFound(ModelNotFound):  # type: ignore[misc]
    """The model is served, but in another version."""

    def __init__(self, name: str, version: str, served: str) -> None:
        super().__init__(name)
        self.reason = f"Model {name} has no version {shown(version)}: version {served} is served."


class ServiceNotFound(ModelNotFound):  # type: ignore[misc]
    """The health of an unknown gRPC service is asked for."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(name)
        self.reason = f'Service {shown(name)} is not known: expected "", {" or ".join(shown(each) for each in known)}.'


class ServerStopping(ServerNotReady):  # type: ignore[misc]
    """The server stopped before it answered."""

    def __init__(self) -> None:
        super().__init__("It stops, and had no time left for this request.")


class TooManyWatchers(ServerNotReady):  # type: ignore[misc]
    """Too many clients watch the health of the server."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.error_msg = f"{limit} clients watch already, as many as may. Ask by Check."  # without the SDK's "not ready"


# The first of an error's classes that is listed decides. Any other error is a fault of the server.
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
    """Response to a failed request. `retry_after`: seconds after which to ask again; None: asking again is no use."""

    http_status: HTTPStatus
    grpc_code: StatusCode
    sentence: str
    retry_after: int | None = None


def error_response(error: Exception) -> ErrorResponse:
    """Return the response to a request that failed with `error`. A fault of the server is only in its log."""
    statuses = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if statuses is None:
        sentence = "The predictor failed: its log says how."
        return ErrorResponse(HTTPStatus.INTERNAL_SERVER_ERROR, StatusCode.INTERNAL, sentence)
    retry_after = 1 if statuses[0] is HTTPStatus.SERVICE_UNAVAILABLE else getattr(error, "retry_after", None)
    return ErrorResponse(*statuses, str(error), retry_after)


MAX_SHOWN_CHARACTERS = 40  # of a wrong value, in the sentence about it


def shown(value: object) -> str:
    """Return a wrong value as JSON, cut if it is long."""
    if isinstance(value, str):
        value = value[:MAX_SHOWN_CHARACTERS]  # quoted, it is still longer than what is shown
    try:
        written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=repr)
    except RecursionError:  # nested just less deeply than the parser allows
        return "..."
    return written if len(written) <= MAX_SHOWN_CHARACTERS else f"{written[: MAX_SHOWN_CHARACTERS - 3]}..."


def wrong_shape(shape: str) -> str:
    """Return the sentence about a shape that is not a number of texts."""
    return f'input "text" has shape {shape}: expected [n] or [n,1], n being the number of texts'


def not_a_string(at: int, element: str) -> str:
    """Return the sentence about an element of the input that is not a string."""
    return f'input "text" holds {element} at {at}: expected a string'


def missing(field: str) -> str:
    """Return the sentence about a missing field, such as `inputs[0].data`."""
    return f"{field} is missing: expected {REQUIRED_FIELDS[field.rpartition('.')[2]]}"


# --- JSON bodies that cannot be read ----------------------------------------------------------------------------------

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # that msgspec raises for a body
MAX_REREAD_BYTES = 64 * 1024  # of a body that is read a second time, without types, to show the wrong value
REQUIRED_FIELDS = {
    "inputs": "a list of one tensor",
    "name": "a string",
    "shape": "[n] or [n,1], n being the number of texts",
    "datatype": '"BYTES"',
    "data": "a list of strings",
    "instances": "a list of strings",
    "text": "a string",
}
# Names of types: msgspec's, ours.
TYPE_NAMES = {
    "array": "a list",
    "object": "an object",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "bool | int | float | str": "a string, a number or a boolean",
    # Other spellings (data as nested lists, instances as objects) are accepted, but not advertised.
    "str | array": "a string",
    "str | object": "a string",
}
UNREAD = object()  # in place of a value that was not read


def json_error_sentence(error: Exception, body: object) -> str:
    """Return the sentence about the first thing that is wrong with a body.

    error: one of JSON_ERRORS. body: bytes, or (v1) what the SDK read from them. If small, bytes are read again: to show the
    wrong value, and because invalid JSON is reported before a field that does not fit.
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
    """Return the sentence about a message of msgspec's on the value at `path` of a body."""
    if field := re.fullmatch(r"Object missing required field `(.*)`", message):
        return missing(_join(path, field[1]))
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        field_path = _join(path, unknown[1][:MAX_SHOWN_CHARACTERS])
        place = f"{' and '.join(SELECTION_NAMES)} go in parameters"
        return f"{field_path} is not a field of this request: expected another name; {place}"
    if message.startswith("Expected `array` of at "):  # the only list of bounded length; msgspec may leave out its path
        _, value = _locate("inputs[0].shape", whole)
        return wrong_shape("of another length" if value is UNREAD else shown(value))
    path, value = _locate(path, whole)
    if wrong := re.fullmatch(r"Expected `(.*?)(?: \| null)?`(?:, got `(.*)`| of length 1.*)", message):
        actual = TYPE_NAMES.get(wrong[2], wrong[2] or "a list") if value is UNREAD else shown(value)
        if element := re.fullmatch(r"inputs\[0\]\.data\[(\d+)\](?:\[0\])?", path):
            return not_a_string(int(element[1]), actual)
        return f"{path or 'the body'} is {actual}: expected {TYPE_NAMES.get(wrong[1], wrong[1])}"
    return f"the body is not JSON: {message.removeprefix('JSON is malformed: ')}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _locate(path: str, whole: Any) -> tuple[str, object]:
    """Return a path such as `inputs[0].shape` and the value there; msgspec writes [...] for a parameter's name.

    The value is UNREAD if the body was not read, or if it has a field twice with different values.
    """
    place, parameter, _ = path.partition("[...]")
    value = whole
    try:
        for name, position in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
            value = value[name] if name else value[int(position)]
        if parameter:
            name, value = next(each for each in value.items() if isinstance(each[1], list | dict))
            return _join(place, name[:MAX_SHOWN_CHARACTERS]), value
    except (LookupError, TypeError, AttributeError, StopIteration):
        return path, UNREAD
    return place, value
