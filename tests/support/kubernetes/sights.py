"""Builders of observed objects for tests of decisions: classifiers, runs, Deployments and Jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from k8s.controller.api.v1alpha1 import read_text_classifier, read_training_run
from k8s.controller.builders.training_job import Images
from k8s.controller.objects import names
from k8s.controller.objects.documents import format_time, owner
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.classifier import MaintenanceJob, ObservedClassifier
from k8s.controller.observed.run import ObservedRun, TrainingRunSummary
from model.gate import GateRecord, GateRule
from model.run_result import RunResult
from model.scores import ScoreName
from tests.support.kubernetes.server_side_apply import merge_patched
from tests.support.kubernetes.simulation import admitted

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
IMAGES = Images("trainer:1", "predictor:1")
API = "labelwright.dev/v1alpha1"
SHA = {letter: letter * 64 for letter in "abcdef"}


def ago(seconds: float) -> str:
    return format_time(NOW - timedelta(seconds=seconds))


def uri(version: str) -> str:
    return f"s3://models/papers/{version}/"


def classifier(*, status: Document | None = None, generation: int = 1, age: float = 86400, **spec: Any) -> Document:
    """Return a TextClassifier `papers`, with defaults."""
    smallest = {
        "dataset": {"uri": "s3://datasets/papers/"},
        "storage": {"uri": "s3://models", "secretName": "labelwright-s3"},
    }
    metadata = {
        "name": "papers", "namespace": "one", "uid": "u", "generation": generation, "resourceVersion": "7",
        "creationTimestamp": ago(age),
    }  # fmt: skip
    document = {"apiVersion": API, "kind": "TextClassifier", "metadata": metadata, "spec": merge_patched(smallest, spec)}
    return {**admitted(document), "status": status or {}}


def run(
    name: str,
    *,
    age: float = 3600,
    sequence: int = 1,
    of: Document | None = None,
    files: str | None = None,
    superseded: bool = False,
    spec: Document | None = None,
    **status: Any,
) -> TrainingRunSummary:
    """Return a TrainingRun of a classifier. status: fields of its status; if `passed` is one of them, it has a version."""
    whose = of or classifier()
    if "passed" in status:
        status = {"artifactUri": uri(name), "score": 0.9, "state": "Published" if status["passed"] else "Rejected", **status}
    taken = {part: whose["spec"][part] for part in ("dataset", "training", "storage", "gate")}
    annotations = {names.SEQUENCE: str(sequence)} | ({names.FILES: files} if files else {})
    annotations |= {names.SUPERSEDED: "true"} if superseded else {}
    metadata = {
        "name": name, "namespace": "one", "uid": f"u-{name}", "resourceVersion": "3", "generation": 1,
        "creationTimestamp": ago(age), "labels": names.labels("trainer", classifier="papers"), "annotations": annotations,
        "ownerReferences": [owner(whose)],
    }  # fmt: skip
    spec = {"classifier": "papers", **taken, **(spec or {})}
    return TrainingRunSummary({"apiVersion": API, "kind": "TrainingRun", "metadata": metadata, "spec": spec, "status": status})


def service(version: str) -> Document:
    return {"metadata": {"name": "papers", "namespace": "one"}, "spec": {"predictor": {"model": {"storageUri": uri(version)}}}}


def deployment(version: str, *, wanted: int = 1, available: int = 1, updated: int = 1, generation: int = 1) -> Document:
    template = {"metadata": {"annotations": {names.SOURCE: uri(version)}}}
    status = {"observedGeneration": 1, "replicas": wanted, "updatedReplicas": updated, "availableReplicas": available}
    metadata = {"name": "papers-predictor", "namespace": "one", "generation": generation}
    return {"metadata": metadata, "spec": {"replicas": wanted, "template": template}, "status": status}


def served(version: str, **more: Any) -> Document:
    """Return the served version, as in a classifier's status."""
    return {"version": version, "uri": uri(version), "score": 0.9, "since": ago(1800), **more}


def seen(document: Document, *runs: TrainingRunSummary, **more: Any) -> ObservedClassifier:
    """Return an observed classifier. Nothing is served, unless `more` has a service."""
    others: dict[str, Any] = {"jobs": (), "service": None, "deployment": None, "now": NOW, **more}
    return ObservedClassifier(classifier=document, spec=read_text_classifier(document), runs=runs, **others)


def seen_run(
    summary: TrainingRunSummary, *, of: Document | None = None, job: Document | None = None, pods: list[Document] | None = None
) -> ObservedRun:
    """Return an observed run."""
    return ObservedRun(summary.document, read_training_run(summary.document), of, job, pods or [], NOW)


def job(name: str = "papers-1-aaaaaa", *, how: str | None = None, component: str = "trainer", **more: Any) -> Document:
    """Return a Job. how: Complete or Failed; None: it runs."""
    conditions = [{"type": how, "status": "True", "lastTransitionTime": ago(60), "message": "it ended"}] if how else []
    status = {"startTime": ago(600), "conditions": conditions} | ({"completionTime": ago(60)} if how == "Complete" else {})
    metadata = {
        "name": name, "namespace": "one", "uid": f"j-{name}", "creationTimestamp": ago(700), "resourceVersion": "4",
        "labels": names.labels(component, classifier="papers"),
    }  # fmt: skip
    spec = {"backoffLimit": 6}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec, "status": {**status, **more}}


def result(name: str = "papers-1-aaaaaa", *, value: float = 0.9, served_value: float | None = None, **gate: Any) -> RunResult:
    """Return the result of a training that published a version.

    value, served_value: of all five scores. gate: fields of the record, or of its rule.
    """
    rule = GateRule(**{field: gate.pop(field) for field in GateRule.model_fields if field in gate})
    served = {} if served_value is None else dict.fromkeys(ScoreName, served_value)
    record = {
        "scores": dict.fromkeys(ScoreName, value),
        "baseline_scores": dict.fromkeys(ScoreName, 0.1),
        "served_scores": served,
    }
    return RunResult(
        exit_code=0, classifier="papers", version=name, artifact_uri=uri(name), dataset_sha256=SHA["a"],
        gate=GateRecord.model_validate({**record, "rule": rule, **gate}), best_checkpoint="step-10", mlflow_run_id="m",
    )  # fmt: skip


def pod(said: RunResult | str | None = None, *, phase: str = "Succeeded", index: str | None = None, **status: Any) -> Document:
    """Return a Pod of a Job. said: its termination message."""
    labels = {"batch.kubernetes.io/job-completion-index": index} if index else {}
    message = said.model_dump_json(exclude_none=True) if isinstance(said, RunResult) else said
    ended = {"terminated": {"exitCode": 0, **({"message": message} if message is not None else {})}}
    containers = [{"name": "trainer", "state": ended if phase in ("Succeeded", "Failed") else {"running": {}}}]
    return {
        "metadata": {"name": f"pod-{index or 0}", "namespace": "one", "labels": labels, "creationTimestamp": ago(600)},
        "status": {"phase": phase, "containerStatuses": containers, **status},
    }


def checking(*, how: str | None, age: float, said: RunResult | None = None, name: str = "papers-dataset-1") -> MaintenanceJob:
    """Return a Job that checks the dataset."""
    check = job(name, how=how, component="dataset-check")
    check["metadata"]["creationTimestamp"] = ago(age)
    return MaintenanceJob(check, [pod(said)] if said else [])
