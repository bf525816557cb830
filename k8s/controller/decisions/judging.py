"""The gate: the verdict on a version, and judging it again when spec.gate changes."""

from __future__ import annotations

from k8s.controller.api.v1alpha1 import GateSpec
from k8s.controller.decisions.steps import Merge, Step
from k8s.controller.objects import names
from k8s.controller.objects.kinds import TRAINING_RUN, Document
from k8s.controller.observed.classifier import ObservedClassifier
from k8s.controller.observed.foreign_messages import in_fields
from k8s.controller.observed.run import ObservedRun, TrainingRunSummary
from model.gate import GateRecord, judge


def served_to_compare(served: Document | None, storage: str) -> Document | None:
    """Return version, uri and digest of the served version, if it is in the run's storage.

    A run may have no credentials for another storage.
    """
    if not served or not names.lies_in(served["uri"], storage):
        return None
    return {field: served[field] for field in ("version", "uri", "manifestSha256") if served.get(field)}


def judged(observed: ObservedRun, record: GateRecord) -> Document:
    """Return the verdict of the gate in the run's spec, as fields of the run's status.

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
    is_marked = names.STAYS_SERVED in (observed.run["metadata"].get("annotations") or {})
    stays = is_marked and bool(observed.status.get("passed")) and not verdict.passed
    message = in_fields(verdict.message)
    served_score = record.served_scores.get(verdict.score)
    return {
        "state": verdict.state,
        "score": round(record.scores[verdict.score], 4),
        "minimum": gate.minimum,
        "baselineScore": round(record.baseline_scores[verdict.score], 4),
        "servedScore": None if served_score is None else round(served_score, 4),
        "servedVersion": record.served_version,
        "passed": verdict.passed or stays,
        "message": f"{message}; it was already served when the gate changed, so it stays in service" if stays else message,
    }


def judge_again(observed: ObservedClassifier, asked: Document, target: str | None) -> tuple[Step, ...]:
    """Return the steps that copy spec.gate to finished runs, so that they are judged again.

    These are the newest run, if the spec still asks for it, and the approved one, if it was held or rejected.

    target: the version to serve. It is not judged again while its rollout is in progress.
    """
    runs = [observed.newest] if observed.newest is not None and observed.newest.asks_for_the_same(asked) else []
    runs = [run for run in runs if run.was_judged and (run.name != target or run.name == observed.served.get("version"))]
    approved = observed.run_of(observed.spec.gate.approve) if observed.spec.gate.approve else None
    if approved is not None and approved not in runs and approved.was_refused:
        runs.append(approved)
    return tuple(step for run in runs for step in copy_gate(observed, run))


def copy_gate(observed: ObservedClassifier, run: TrainingRunSummary) -> tuple[Step, ...]:
    """Return the step that copies the classifier's gate to the run, if they differ.

    A version that was approved stays approved when spec.gate.approve names another version. The run of the
    served version is annotated, so that it stays in service.
    """
    gate, run_gate = observed.classifier["spec"].get("gate"), run.document["spec"].get("gate") or {}
    if gate is None or run.document["spec"].get("cancelled"):
        return ()
    if run_gate.get("approve") == run.name and run.status.get("passed"):
        gate = {**gate, "approve": run.name}
    if run_gate == gate:
        return ()
    is_served = run.may_be_served and run.name == observed.served.get("version")
    is_marked = names.STAYS_SERVED in (run.document["metadata"].get("annotations") or {})
    mark = {"metadata": {"annotations": {names.STAYS_SERVED: "true" if is_served else None}}} if is_served or is_marked else {}
    # In a JSON merge patch, null removes a field.
    return (Merge(TRAINING_RUN, run.document, {**mark, "spec": {"gate": dict.fromkeys(run_gate) | gate}}),)
