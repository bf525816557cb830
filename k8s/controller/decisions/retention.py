"""Retention: TrainingRuns and versions that are kept, and the deletion of the others.

The trainer decides itself which checkpoints of a running training are kept: KEEP in trainer/run/checkpoint_store.py for the
storage, `save_total_limit` in trainer/architectures/transformer/fine_tuning.py for its own disk.
"""

from __future__ import annotations

from dataclasses import dataclass

from k8s.controller.builders.maintenance_jobs import prune
from k8s.controller.builders.training_job import Images
from k8s.controller.decisions.steps import Create, Delete, Merge, Step
from k8s.controller.objects import names
from k8s.controller.objects.documents import condition, ended, image_of, no_pod, results, trouble, unpulled
from k8s.controller.objects.kinds import JOB, TRAINING_RUN
from k8s.controller.observed.classifier import MaintenanceJob, ObservedClassifier
from k8s.controller.observed.foreign_messages import of_maintenance_jobs
from k8s.controller.observed.run import TrainingRunSummary

CHECKPOINT_RETRIES_FACTOR = 3  # this many times history.runs runs, at most, are kept until their checkpoints are deleted
WITHOUT_ACCOUNT = "a ServiceAccount that does not exist (spec.storage.serviceAccountName), "
RESOURCES = "resources.jobs of the controller's chart"
POD_POLL_SECONDS = 15.0  # between two checks of a running Job, since its Pods' events are not watched


@dataclass(frozen=True)
class HistoryDecision:
    """Result. problem: reason why versions could not be deleted. requeue_after: seconds until that may have changed."""

    steps: tuple[Step, ...] = ()
    problem: str | None = None
    requeue_after: float | None = None


def enforce_history(observed: ObservedClassifier, images: Images, *, in_use: set[str]) -> HistoryDecision:
    """Delete all but the newest history.runs runs and history.versions versions. in_use: versions that stay at any age."""
    if observed.active or observed.spec.suspend:
        return HistoryDecision()
    steps = _old_runs(observed, in_use)
    surplus = _old_versions(observed, in_use)
    jobs = {each.job["metadata"]["name"]: each for each in observed.jobs if _is_prune(each)}
    wanted = names.prune_name(observed.name, surplus) if surplus else None
    leftover = [each.job for name, each in jobs.items() if name != wanted and ended(each.job)]
    steps += tuple(Delete(JOB, job) for job in leftover)
    if wanted is None:
        return HistoryDecision(steps)
    if any(ended(each.job) is None for name, each in jobs.items() if name != wanted):
        return HistoryDecision(steps, requeue_after=POD_POLL_SECONDS)  # one Job at a time
    if wanted not in jobs:
        return HistoryDecision(
            (*steps, Create(prune(observed.classifier, observed.spec, images, versions=surplus))), requeue_after=POD_POLL_SECONDS
        )
    how = ended(jobs[wanted].job)
    if how == "Complete":
        return HistoryDecision((*steps, *(_files_are_gone(observed, version) for version in surplus)))
    if begins_again(jobs[wanted], images, observed):
        steps += (Delete(JOB, jobs[wanted].job),)
    return HistoryDecision(steps, why_not(jobs[wanted], observed), requeue_after=None if how else POD_POLL_SECONDS)


def begins_again(maintenance: MaintenanceJob, images: Images, observed: ObservedClassifier) -> bool:
    """Return whether a Job waits for an image that the trainer no longer has."""
    is_another = image_of(maintenance.job) not in (None, images.trainer)
    return ended(maintenance.job) is None and is_another and unpulled(maintenance.pods, now=observed.now) is not None


def why_not(maintenance: MaintenanceJob, observed: ObservedClassifier) -> str | None:
    """Return why a Job failed or does not start."""
    if ended(maintenance.job):
        said = next((each.message for each in results(maintenance.pods) if each.message), None)
        failed = str(condition(maintenance.job, "Failed").get("message", "its Job failed"))
        return of_maintenance_jobs(said, observed.spec) if said else failed  # the spec has no field for the Job's own deadline
    problem = trouble(maintenance.pods) or no_pod(
        maintenance.job, maintenance.pods, perhaps=WITHOUT_ACCOUNT, fields=RESOURCES, now=observed.now
    )
    return of_maintenance_jobs(problem, observed.spec) if problem else None


def _old_runs(observed: ObservedClassifier, in_use: set[str]) -> tuple[Step, ...]:
    """Delete surplus runs that have ended, unless they still have files or are needed."""
    return tuple(
        Delete(TRAINING_RUN, run.document)
        for run in _surplus(observed)
        if run.is_over and not _has_to_be_pruned(observed, run) and run.name not in in_use and not _is_for_drift(observed, run)
    )


def _has_to_be_pruned(observed: ObservedClassifier, run: TrainingRunSummary) -> bool:
    """Return whether the run's files must be deleted before the run.

    Only a limited number of runs waits for the deletion of checkpoints, in case the storage is unavailable for long.
    """
    may_wait = run.has_files or run in observed.runs[-CHECKPOINT_RETRIES_FACTOR * observed.spec.history.runs :]
    return run.has_left and _is_here(observed, run) and may_wait


def _is_for_drift(observed: ObservedClassifier, run: TrainingRunSummary) -> bool:
    """Return whether the drift of the served version started this run. If the run were deleted, drift would start another."""
    return (run.trigger.get("reason"), run.trigger.get("token")) == ("Drift", observed.served.get("version"))


def _surplus(observed: ObservedClassifier) -> tuple[TrainingRunSummary, ...]:
    return observed.runs[: -observed.spec.history.runs]


def _old_versions(observed: ObservedClassifier, in_use: set[str]) -> tuple[str, ...]:
    history = observed.spec.history
    # Versions in an earlier storage stay: its credentials may be gone.
    published = [run for run in observed.runs if run.has_files and _is_here(observed, run)]
    kept = min(history.versions, history.runs)
    # A stopped run may have published at the last moment or left checkpoints. The checkpoints of a failed run are kept as long as
    # the run, so that a user can resume from them.
    going = [run for run in observed.runs if run.state == "Superseded" or (run.state == "Failed" and run in _surplus(observed))]
    left = [run for run in going if run.has_left and _is_here(observed, run)]
    return tuple(run.name for run in (*published[:-kept], *left) if run.name not in in_use)


def _is_here(observed: ObservedClassifier, run: TrainingRunSummary) -> bool:
    """Return whether the run's files are at the address that its version would have in the present storage of the classifier."""
    left: str = run.status.get("artifactUri") or names.version_uri(
        run.document["spec"]["storage"]["uri"], observed.name, run.name
    )
    return left == names.version_uri(observed.spec.storage.uri, observed.name, run.name)


def _files_are_gone(observed: ObservedClassifier, version: str) -> Step:
    run = observed.run_of(version)
    assert run is not None  # noqa: S101 - each surplus version is that of a run
    return Merge(TRAINING_RUN, run.document, {"metadata": {"annotations": {names.FILES: "deleted"}}})


def _is_prune(maintenance: MaintenanceJob) -> bool:
    return (maintenance.job["metadata"].get("labels") or {}).get("app.kubernetes.io/component") == "prune"
