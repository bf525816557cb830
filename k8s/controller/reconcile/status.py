"""Statuses that no decision makes: of a spec that cannot be read, of a step that was refused. And what they tell Prometheus."""

from __future__ import annotations

import re
from datetime import datetime

from k8s.controller.objects.documents import LONGEST, conditioned, is_true
from k8s.controller.objects.kinds import TEXT_CLASSIFIER, Document, Kind
from k8s.controller.observed.run import FINAL_STATES
from k8s.controller.observed.wording import in_the_users_terms, of_serving
from k8s.controller.runtime.metrics import ClassifierGauges, ControllerMetrics

FOR_GOOD = {"SpecRejected", "NotAllowed"}  # until the spec is another
SERVING = re.compile(r"\w+ (?:InferenceService|ServingRuntime)\b")  # that which was refused


def rejected(document: Document, message: str, now: datetime) -> Document:
    """Of an object whose spec cannot be read: of another release, since the API server has let it in."""
    return _degraded(document, document.get("status") or {}, reason="SpecRejected", message=message, now=now)


def not_allowed(document: Document, message: str, now: datetime) -> Document:
    """Of an object that asks for what this controller is told not to give: nothing is done for it, and what is served stays."""
    return _degraded(document, document.get("status") or {}, reason="NotAllowed", message=message, now=now)


def refused(document: Document, message: str, now: datetime, *, planned: Document | None = None) -> Document:
    """Of an object for which the API server does not let us make what it needs: a quota, a webhook, a missing right.

    planned: the status that it would have got; none: what it has.
    """
    status = planned or document.get("status") or {}
    said = of_serving(message) if SERVING.match(message) else in_the_users_terms(message)
    return _degraded(document, status, reason="Refused", message=said, now=now)


def _degraded(document: Document, status: Document, *, reason: str, message: str, now: datetime) -> Document:
    generation = document["metadata"].get("generation")
    if document["kind"] != TEXT_CLASSIFIER.kind:
        if status.get("state") in FINAL_STATES:
            return status  # what came of it stays
        state = "Failed" if reason in FOR_GOOD else status.get("state", "Pending")
        found = {"state": state, "message": message, "trouble": message, "observedGeneration": generation}
        return {**status, **found}
    found = conditioned(document, "Degraded", "True", reason, message, now=now)  # by what is written, not by what was planned
    others = [each for each in status.get("conditions") or () if each["type"] != "Degraded"]
    state = "Invalid" if reason in FOR_GOOD else "Degraded"
    read = {"observedGeneration": generation} if reason in FOR_GOOD else {}  # else by whoever has decided by it
    return {**status, **read, "state": state, "message": message[:LONGEST], "conditions": [*others, found]}


def tell(metrics: ControllerMetrics, kind: Kind, document: Document, before: Document) -> None:
    """Of a classifier what it is like now; of a run that has just ended, how."""
    status, metadata = document["status"], document["metadata"]
    if kind is TEXT_CLASSIFIER:
        served = status.get("served") or {}
        metrics.seen(
            metadata["namespace"],
            metadata["name"],
            ClassifierGauges(
                version=served.get("version"),
                served_score=served.get("score"),
                run_score=status.get("runScore"),
                minimum_score=(document["spec"].get("gate") or {}).get("minimum"),
                corrections=status.get("corrections"),
                drift_index=status.get("driftIndex"),
                ready=is_true(document, "Ready"),
            ),
        )
    elif status.get("state") in FINAL_STATES and before.get("state") not in FINAL_STATES:
        metrics.ended(metadata["namespace"], document["spec"]["classifier"], state=status["state"], seconds=status.get("seconds"))
