"""The gate: the verdict on a version, and judging it again when spec.gate changes."""

from __future__ import annotations

from k8s.controller.api.v1alpha1 import GateSpec
from k8s.controller.decisions.steps import Merge, Step
from k8s.controller.objects import names
from k8s.controller.objects.kinds import TRAINING_RUN, Document
from k8s.controller.observed.classifier import ObservedClassifier
from k8s.controller.observed.run import ObservedRun, TrainingRunSummary
from k8s.controller.observed.wording import in_fields
from model.gate import GateRecord, judge


def comparable(served: Document | None, storage: str) -> Document | None:
    """Return version, uri and digest of the served version, if it lies in the run's storage.

    A run may have no credentials for another storage.
    """
    if not served or not names.lies_in(served["uri"], storage):
        return None
    return {field: served[field] for field in ("version", "uri", "manifestSha256") if served.get(field)}


def judged(observed: ObservedRun, record: GateRecord) -> Document:
    """Return what the status of a run says of the verdict, by the gate in its spec.

    If the version was served when the gate changed, it stays served, and `passed` stays true.
    """
    gate, compared = observed.spec.gate or GateSpec(), observed.spec.served
    verdict = judge(
        record,
        gate,
        version=observed.run["metadata"]["name"],
        approve=gate.approve,
        served=compared.version if compared else None,
    )
    was_served = names.STAYS_SERVED in (observed.run["metadata"].get("annotations") or {})
    stays = was_served and bool(observed.status.get("passed")) and not verdict.passed
    message = in_fields(verdict.message)
    theirs = record.served_scores.get(verdict.score)
    return {
        "state": verdict.state,
        "score": round(record.scores[verdict.score], 4),
        "minimum": gate.minimum,
        "baselineScore": round(record.baseline_scores[verdict.score], 4),
        "servedScore": None if theirs is None else round(theirs, 4),
        "servedVersion": record.served_version,
        "passed": verdict.passed or stays,
        "message": f"{message}; it was served when the gate changed, and stayed" if stays else message,
    }


def judge_again(observed: ObservedClassifier, asked: Document, wanted: str | None) -> tuple[Step, ...]:
    """Return the steps that give spec.gate to finished runs: the newest, if the spec still asks for it, and an approved one.

    wanted: the version that is to be served. Until it is, it is not judged again: a roll-out that has begun is finished first.
    """
    runs = [observed.newest] if observed.newest is not None and observed.newest.asks_for_the_same(asked) else []
    runs = [run for run in runs if run.was_judged and (run.name != wanted or run.name == observed.served.get("version"))]
    approved = observed.run_of(observed.spec.gate.approve) if observed.spec.gate.approve else None
    if approved is not None and approved not in runs and approved.was_refused:
        runs.append(approved)
    return tuple(step for run in runs for step in give_gate(observed, run))


def give_gate(observed: ObservedClassifier, run: TrainingRunSummary) -> tuple[Step, ...]:
    """Return the step by which the run is judged by the classifier's gate, if it has another one.

    A version that was approved stays approved when spec.gate.approve names another version. A served version is marked as such.
    """
    gate, theirs = observed.classifier["spec"].get("gate"), run.document["spec"].get("gate") or {}
    if gate is None or run.document["spec"].get("cancelled"):
        return ()
    if theirs.get("approve") == run.name and run.status.get("passed"):
        gate = {**gate, "approve": run.name}
    if theirs == gate:
        return ()
    is_served = run.may_be_served and run.name == observed.served.get("version")
    is_marked = names.STAYS_SERVED in (run.document["metadata"].get("annotations") or {})
    mark = {"metadata": {"annotations": {names.STAYS_SERVED: "true" if is_served else None}}} if is_served or is_marked else {}
    # In a merge, null takes a field away.
    return (Merge(TRAINING_RUN, run.document, {**mark, "spec": {"gate": dict.fromkeys(theirs) | gate}}),)
