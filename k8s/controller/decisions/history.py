"""How much is kept: TrainingRuns, and versions in the storage."""

from __future__ import annotations

from dataclasses import dataclass

from k8s.controller import names
from k8s.controller.builders.small_jobs import prune
from k8s.controller.builders.training_job import Images
from k8s.controller.decisions.seen import Run, Seen, SmallJob
from k8s.controller.decisions.steps import Create, Delete, Merge, Step
from k8s.controller.kinds import JOB, TRAINING_RUN
from k8s.controller.objects import condition, ended, results


@dataclass(frozen=True)
class Kept:
    """problem: why versions could not be deleted."""

    steps: tuple[Step, ...] = ()
    problem: str | None = None


def keep(seen: Seen, images: Images, *, in_use: set[str]) -> Kept:
    """Delete what is older than the newest so many. in_use: versions that stay, whatever their age."""
    if seen.active or seen.spec.suspend:
        return Kept()
    steps = _old_runs(seen, in_use)
    surplus = _old_versions(seen, in_use)
    jobs = {each.job["metadata"]["name"]: each for each in seen.jobs if _is_prune(each)}
    wanted = names.prune_name(seen.name, surplus) if surplus else None
    leftover = [each.job for name, each in jobs.items() if name != wanted and ended(each.job)]
    steps += tuple(Delete(JOB, job) for job in leftover)
    if wanted is None:
        return Kept(steps)
    if wanted not in jobs:
        return Kept((*steps, Create(prune(seen.classifier, seen.spec, images, versions=surplus))))
    how = ended(jobs[wanted].job)
    if how == "Complete":
        return Kept((*steps, *(_files_are_gone(seen, version) for version in surplus)))
    return Kept(steps, why(jobs[wanted]) if how else None)


def why(small: SmallJob) -> str:
    """What went wrong in a Job."""
    said = next((each.message for each in results(small.pods) if each.message), None)
    return said or str(condition(small.job, "Failed").get("message", "its Job failed"))


def _old_runs(seen: Seen, in_use: set[str]) -> tuple[Step, ...]:
    """Of runs that are over, without files that somebody would have to find again, and not the newest."""
    surplus = seen.runs[: -seen.spec.history.runs]
    return tuple(
        Delete(TRAINING_RUN, run.document)
        for run in surplus
        if run.is_over and not (run.has_left and _is_here(seen, run)) and run.name not in in_use
    )


def _old_versions(seen: Seen, in_use: set[str]) -> tuple[str, ...]:
    history = seen.spec.history
    # What lies in a storage of before stays: its credentials may be gone.
    published = [run for run in seen.runs if run.has_files and _is_here(seen, run)]
    kept = min(history.versions, history.runs)
    # One that was stopped may have published at the last moment, or has left checkpoints.
    stopped = [run for run in seen.runs if run.state == "Superseded" and run.has_left and _is_here(seen, run)]
    return tuple(run.name for run in (*published[:-kept], *stopped) if run.name not in in_use)


def _is_here(seen: Seen, run: Run) -> bool:
    """Whether what it has left lies in the storage of now."""
    where = run.status.get("artifactUri") or f"{run.document['spec']['storage']['uri'].rstrip('/')}/"
    return names.lies_in(where, seen.spec.storage.uri)


def _files_are_gone(seen: Seen, version: str) -> Step:
    run = seen.run_of(version)
    assert run is not None  # noqa: S101 - surplus versions are runs'
    return Merge(TRAINING_RUN, run.document, {"metadata": {"annotations": {names.FILES: "deleted"}}})


def _is_prune(small: SmallJob) -> bool:
    return (small.job["metadata"].get("labels") or {}).get("app.kubernetes.io/component") == "prune"
