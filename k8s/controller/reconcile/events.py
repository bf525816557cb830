"""Events for `kubectl describe`: one for each notable change of a status."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from k8s.controller.objects import names
from k8s.controller.objects.documents import format_time
from k8s.controller.objects.kinds import Document

# Conditions that become Warnings.
BAD = {("Ready", "False"), ("Trained", "False"), ("GatePassed", "False"), ("Degraded", "True")}
BAD_STATES = {"Failed", "Held", "Rejected"}
# Their messages name a run: another run gives an Event, even if status and reason stay the same.
OF_A_RUN = {"Trained", "GatePassed"}
# Reasons without an Event: nothing has happened yet.
NO_NEWS = {"Idle", "NothingToServe", "NothingServed", "NoRunEnded", "NothingJudged"}


def events(document: Document, before: Document, after: Document, now: datetime) -> list[Document]:
    """Return an Event for each condition with another status or reason, and for another state of a TrainingRun."""
    return [_event(document, *each, now) for each in (*_conditions(before, after), *_state(before, after))]


def _conditions(before: Document, after: Document) -> Iterator[tuple[str, str, str]]:
    known = {each["type"]: each for each in before.get("conditions") or ()}
    for each in after.get("conditions") or ():
        quiet = each["reason"] in NO_NEWS or (
            each["type"] == "Degraded" and each["type"] not in known and each["status"] == "False"
        )
        if not quiet and _facts(each) != _facts(known.get(each["type"])):
            yield ("Warning" if (each["type"], each["status"]) in BAD else "Normal"), each["reason"], each["message"]


def _facts(condition: Document | None) -> tuple[str, ...]:
    if condition is None:
        return ()
    facts = (condition["status"], condition["reason"])
    return (*facts, condition["message"]) if condition["type"] in OF_A_RUN else facts


def _state(before: Document, after: Document) -> Iterator[tuple[str, str, str]]:
    if "conditions" in after:
        return
    if after.get("state") != before.get("state"):
        bad = after["state"] in BAD_STATES or "trouble" in after
        yield "Warning" if bad else "Normal", after["state"], after.get("message", "")
    elif "trouble" in after and after.get("message") != before.get("message"):
        yield "Warning", after["state"], after.get("message", "")


def _event(document: Document, kind: str, reason: str, message: str, now: datetime) -> Document:
    metadata = document["metadata"]
    digest = names.digest([metadata["uid"], metadata["resourceVersion"], kind, reason, message])[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": document["apiVersion"],
            "kind": document["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": kind,
        "reason": reason,
        "message": message[:1000],
        "source": {"component": "labelwright"},
        "reportingComponent": "labelwright",
        "firstTimestamp": format_time(now),
        "lastTimestamp": format_time(now),
        "count": 1,
    }
