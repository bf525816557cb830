"""Periodic check whether the dataset has changed. A Job does it, since the controller has no credentials of the storage.

The result in the status of a TextClassifier, after a check that failed:

    status:
      dataset:
        checkedAt: "2026-03-09T08:30:00Z"
        message: "spec.dataset.uri: s3://datasets/arxiv.parquet: there is no such bucket"

A check that succeeds sets `sha256` (and `testSha256`, if there is a test set) instead of `message`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from k8s.controller.api.v1alpha1 import TextClassifierSpec, parse_duration
from k8s.controller.builders.maintenance_jobs import dataset_check
from k8s.controller.builders.training_job import Images
from k8s.controller.decisions.steps import Create, Delete, Step
from k8s.controller.objects.documents import (
    MAX_PULL_SECONDS,
    condition,
    ended,
    format_time,
    image_of,
    parse_time,
    results,
    trouble,
    unpulled,
)
from k8s.controller.objects.kinds import JOB, Document
from k8s.controller.observed.classifier import MaintenanceJob, ObservedClassifier
from k8s.controller.observed.foreign_messages import of_maintenance_jobs


@dataclass(frozen=True)
class DatasetCheck:
    """Result. note: status.dataset. requeue_after: seconds until the next check; None: no check is due."""

    note: Document | None
    steps: tuple[Step, ...] = ()
    requeue_after: float | None = None


def check_dataset(observed: ObservedClassifier, images: Images) -> DatasetCheck:
    """Read the result of the last check, delete its Job once the result is in the status, and start the next check when due."""
    triggers = observed.spec.triggers
    jobs = [each for each in observed.jobs if _component(each) == "dataset-check"]
    if not triggers.dataset_change:
        return DatasetCheck(None, tuple(Delete(JOB, each.job) for each in jobs))
    note = _without_stale_error(observed, dict(observed.status.get("dataset") or {}))
    running = [each for each in jobs if ended(each.job) is None]
    if running and (unpulled_check := _without_image(observed, running, images, note)):
        return unpulled_check
    if running:
        problem = trouble([pod for each in running for pod in each.pods])
        return DatasetCheck(
            {**note, "message": of_maintenance_jobs(problem, observed.spec)} if problem else note or None, requeue_after=15.0
        )
    finished = [_check_result(each, observed.spec) for each in jobs]
    newer = [each for each in finished if each["checkedAt"] > str(note.get("checkedAt", ""))]
    if newer:
        latest = max(newer, key=lambda each: str(each["checkedAt"]))
        kept: Document = {} if latest.get("sha256") else {name: note[name] for name in ("sha256", "testSha256") if name in note}
        return DatasetCheck(
            _without_stale_error(observed, {**kept, **latest}), requeue_after=0.0
        )  # its Job is deleted once this is in the status
    return _next(observed, images, note, tuple(Delete(JOB, each.job) for each in jobs))


def _without_image(
    observed: ObservedClassifier, running: list[MaintenanceJob], images: Images, note: Document
) -> DatasetCheck | None:
    """Delete the Jobs of checks whose image cannot be pulled; return None if there is none to delete.

    If the trainer has another image now, they are deleted at once, and a check starts again with that image. Otherwise they are
    deleted after MAX_PULL_SECONDS, and the next check starts when it is due.
    """
    waits = [(each, unpulled(each.pods, now=observed.now)) for each in running]
    old = [each for each, waited in waits if waited is not None and image_of(each.job) not in (None, images.trainer)]
    late = [each for each, waited in waits if waited is not None and waited >= MAX_PULL_SECONDS and each not in old]
    steps = tuple(Delete(JOB, each.job) for each in (*old, *late))
    if late:
        problem = of_maintenance_jobs(trouble(late[0].pods) or "its image cannot be pulled", observed.spec)
        return DatasetCheck({**note, "checkedAt": format_time(observed.now), "message": problem}, steps, requeue_after=15.0)
    return DatasetCheck(note or None, steps, requeue_after=1.0) if old else None


def _without_stale_error(observed: ObservedClassifier, note: Document) -> Document:
    """Remove the error if a training has read the dataset since, or if it was about another dataset."""
    at = parse_time(note["checkedAt"]) if "checkedAt" in note else None
    since = [run for run in observed.runs if at is None or run.created > at]
    before = observed.runs[-len(since) - 1] if len(since) < len(observed.runs) else None
    is_another = before is not None and _addresses(before.document) != _addresses(observed.classifier)
    if at is None or is_another or any("datasetSha256" in run.status for run in since):
        note.pop("message", None)
    return note


def _addresses(document: Document) -> tuple[str | None, ...]:
    """Return the addresses of the dataset and the test set of a classifier or a run."""
    dataset = document["spec"].get("dataset") or {}
    return dataset.get("uri"), dataset.get("testUri")


def _next(observed: ObservedClassifier, images: Images, note: Document, steps: tuple[Step, ...]) -> DatasetCheck:
    interval = parse_duration(observed.spec.triggers.dataset_check_interval)
    read_at = [parse_time(note["checkedAt"])] if note.get("checkedAt") else []
    if observed.newest is not None:
        read_at.append(observed.newest.created)  # a run reads the dataset itself
    idle = observed.spec.suspend or observed.active or not read_at
    if idle:
        return DatasetCheck(note or None, steps)
    at = max(read_at) + timedelta(seconds=interval)
    if at > observed.now:
        return DatasetCheck(note or None, steps, requeue_after=(at - observed.now).total_seconds())
    slot = int(observed.now.timestamp() // interval)
    return DatasetCheck(
        note or None, (*steps, Create(dataset_check(observed.classifier, observed.spec, images, slot=slot))), requeue_after=15.0
    )


def _check_result(maintenance: MaintenanceJob, spec: TextClassifierSpec) -> Document:
    """Return status.dataset after a check.

    checkedAt is the time at which its Job was created, because the Job may have read the dataset right then.
    """
    at = maintenance.job["metadata"]["creationTimestamp"]
    result = next(iter(results(maintenance.pods)), None)
    if ended(maintenance.job) == "Complete" and result is not None and result.dataset_sha256:
        found = {"sha256": result.dataset_sha256, "testSha256": result.test_sha256, "checkedAt": at}
        return {name: value for name, value in found.items() if value is not None}
    if result is not None and result.message:
        return {"checkedAt": at, "message": of_maintenance_jobs(result.message, spec)}
    failed = condition(maintenance.job, "Failed").get("message")  # the spec has no field for the Job's own deadline
    return {"checkedAt": at, "message": failed or "its Pod is gone, and its result with it"}


def _component(maintenance: MaintenanceJob) -> str | None:
    found: str | None = (maintenance.job["metadata"].get("labels") or {}).get("app.kubernetes.io/component")
    return found
