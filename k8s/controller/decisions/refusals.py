"""Statuses of failures: a spec that cannot be read or is not allowed, a step that the API server has refused."""

from __future__ import annotations

import re
from datetime import datetime

from k8s.controller.objects.documents import MAX_MESSAGE_CHARACTERS, conditioned
from k8s.controller.objects.kinds import TEXT_CLASSIFIER, Document
from k8s.controller.observed.foreign_messages import in_the_users_terms, of_serving
from k8s.controller.observed.run import FINAL_STATES

FOR_GOOD = {"SpecRejected", "NotAllowed"}  # reasons that last until the spec changes
SERVING = re.compile(r"\w+ (?:InferenceService|ServingRuntime)\b")  # start of the message about a refused request


def rejected(document: Document, message: str, now: datetime) -> Document:
    """Return the status of an object whose spec cannot be read, because another release's CRD has admitted it."""
    return _degraded(document, document.get("status") or {}, reason="SpecRejected", message=message, now=now)


def not_allowed(document: Document, message: str, now: datetime) -> Document:
    """Return the status of an object that the controller's settings do not allow. The served version stays."""
    return _degraded(document, document.get("status") or {}, reason="NotAllowed", message=message, now=now)


def refused(document: Document, message: str, now: datetime, *, planned: Document | None = None) -> Document:
    """Return the status after the API server has refused a request: a quota, a webhook, a missing permission.

    planned: the status that was decided; None: the present one.
    """
    status = planned or document.get("status") or {}
    said = of_serving(message) if SERVING.match(message) else in_the_users_terms(message)
    return _degraded(document, status, reason="Refused", message=said, now=now)


def _degraded(document: Document, status: Document, *, reason: str, message: str, now: datetime) -> Document:
    generation = document["metadata"].get("generation")
    if document["kind"] != TEXT_CLASSIFIER.kind:
        if status.get("state") in FINAL_STATES:
            return status  # the outcome stays
        state = "Failed" if reason in FOR_GOOD else status.get("state", "Pending")
        found = {"state": state, "message": message, "trouble": message, "observedGeneration": generation}
        return {**status, **found}
    found = conditioned(
        document, "Degraded", "True", reason, message, now=now
    )  # compared with the written status, not the planned one
    others = [each for each in status.get("conditions") or () if each["type"] != "Degraded"]
    state = "Invalid" if reason in FOR_GOOD else "Degraded"
    read = {"observedGeneration": generation} if reason in FOR_GOOD else {}  # else set by the decision
    return {**status, **read, "state": state, "message": message[:MAX_MESSAGE_CHARACTERS], "conditions": [*others, found]}
