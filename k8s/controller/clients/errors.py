"""Errors of the API server, sorted by what the caller must do."""

from __future__ import annotations

from typing import Any

MAX_CAUSE_CHARACTERS = 300  # characters; the server repeats a whole Pod template if an immutable field of it changes
MAX_MESSAGE_CHARACTERS = 1000  # characters of a message, which becomes a condition's
# Start of the server's message if an applied document does not fit the schema. Its status code is 500.
MISFIT = "failed to create typed patch object"
TRY_AGAIN = frozenset({401, 408, 410, 425, 429})  # a token that is renewed, a list that took too long, too many requests


class ClusterError(Exception):
    """Failed request to the API server. The message is a sentence for people."""


class WriteConflict(ClusterError):
    """Conflict: the object has changed since it was read. Read it again and decide again."""


class RequestRefused(ClusterError):
    """Refused request. It fails until something changes: the document, a permission, a quota, a missing CRD."""


class Unavailable(ClusterError):
    """No answer, or none now: retry with backoff."""


def is_absence(status: int, answer: dict[str, Any]) -> bool:
    """Return whether the answer says that the object does not exist. A missing kind does not count."""
    if status == 409:
        # The object was deleted since it was read, and the server compared its uid with an empty one.
        return str(answer.get("message", "")).endswith("UID in object meta: ")
    return status == 404 and bool((answer.get("details") or {}).get("name"))


def is_behind(status: int, answer: dict[str, Any]) -> bool:
    """Return whether the server has waited in vain for the requested resource version."""
    causes = (answer.get("details") or {}).get("causes") or []
    return status == 504 and any(each.get("reason") == "ResourceVersionTooLarge" for each in causes)


def error_of(what: str, status: int, answer: dict[str, Any]) -> ClusterError:
    """Return the error for an unsuccessful answer. what: the request, such as `create Job a/b`."""
    message = f"{what}: {_sentence(answer) or f'the API server answered {status}'}"
    if len(message) > MAX_MESSAGE_CHARACTERS:
        message = f"{message[: MAX_MESSAGE_CHARACTERS - 1]}…"
    if status == 409 or _fields(answer) == {"metadata.uid"}:  # the uid belongs to an earlier object of this name
        return WriteConflict(message)
    if str(answer.get("message", "")).startswith(MISFIT):
        return RequestRefused(message)
    return RequestRefused(message) if 400 <= status < 500 and status not in TRY_AGAIN else Unavailable(message)


def _sentence(answer: dict[str, Any]) -> str:
    """Return the message of each field, each shortened, or the message of the answer if it names no fields."""
    told = dict.fromkeys(f"{each['field']}: {_shortened(each.get('message', ''))}" for each in _causes(answer))
    return "; ".join(told) or str(answer.get("message", ""))


def _causes(answer: dict[str, Any]) -> list[dict[str, str]]:
    return [each for each in (answer.get("details") or {}).get("causes") or [] if each.get("field")]


def _fields(answer: dict[str, Any]) -> set[str]:
    return {each["field"] for each in _causes(answer)}


def _shortened(text: str) -> str:
    """Return the text without its middle, if it is long: the expected value is at the end."""
    half = MAX_CAUSE_CHARACTERS // 2
    return text if len(text) <= MAX_CAUSE_CHARACTERS else f"{text[:half]}…{text[-half:]}"
