"""What the API server says when it does not do as asked, sorted by what the caller must do."""

from __future__ import annotations

from typing import Any

LONGEST_CAUSE = 300  # characters; the server repeats a whole Pod template where a field of it may not change
LONGEST = 1000  # characters of a message: it ends in a condition that people read
# How the server begins when an applied document does not fit the schema, with code 500 as if the fault were its own.
MISFIT = "failed to create typed patch object"
TRY_AGAIN = frozenset({401, 408, 410, 425, 429})  # a token that is renewed, a list that took too long, too many requests


class ClusterError(Exception):
    """The API server did not do as asked; the message is a sentence for people."""


class Conflict(ClusterError):
    """The object is not as it was read: read again and decide anew."""


class Refused(ClusterError):
    """Trying again cannot help until something changes: the document, a permission, a quota, a CRD that is not there."""


class Unavailable(ClusterError):
    """Nobody answered, or not now: try again, later each time."""


def is_absence(status: int, answer: dict[str, Any]) -> bool:
    """Whether the answer says that there is no object of that name; a kind that is not there is another matter."""
    if status == 409:
        # The object went since it was read, and the server compared its uid with that of nothing.
        return str(answer.get("message", "")).endswith("UID in object meta: ")
    return status == 404 and bool((answer.get("details") or {}).get("name"))


def is_behind(status: int, answer: dict[str, Any]) -> bool:
    """Whether the server has not yet seen, after waiting for it, the resource version that was asked for."""
    causes = (answer.get("details") or {}).get("causes") or []
    return status == 504 and any(each.get("reason") == "ResourceVersionTooLarge" for each in causes)


def error_of(what: str, status: int, answer: dict[str, Any]) -> ClusterError:
    """The error for an answer that is not the one that was asked for; `what` was asked for, as `create Job a/b`."""
    message = f"{what}: {_sentence(answer) or f'the API server answered {status}'}"
    if len(message) > LONGEST:
        message = f"{message[: LONGEST - 1]}…"
    if status == 409 or _fields(answer) == {"metadata.uid"}:  # so it refuses what is meant for an object of before
        return Conflict(message)
    if str(answer.get("message", "")).startswith(MISFIT):
        return Refused(message)
    return Refused(message) if 400 <= status < 500 and status not in TRY_AGAIN else Unavailable(message)


def _sentence(answer: dict[str, Any]) -> str:
    """Field by field where the server tells them, so that a long value of one hides no other."""
    told = dict.fromkeys(f"{each['field']}: {_shortened(each.get('message', ''))}" for each in _causes(answer))
    return "; ".join(told) or str(answer.get("message", ""))


def _causes(answer: dict[str, Any]) -> list[dict[str, str]]:
    return [each for each in (answer.get("details") or {}).get("causes") or [] if each.get("field")]


def _fields(answer: dict[str, Any]) -> set[str]:
    return {each["field"] for each in _causes(answer)}


def _shortened(text: str) -> str:
    """Without its middle, if it is long: what was expected stands at the end."""
    half = LONGEST_CAUSE // 2
    return text if len(text) <= LONGEST_CAUSE else f"{text[:half]}…{text[-half:]}"
