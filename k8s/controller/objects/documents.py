"""Common parts of Kubernetes objects: owners, times, conditions, ends of Jobs, results of Pods."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import ValidationError

from k8s.controller.objects.kinds import Document
from model.run_result import RunResult

# Reasons of waiting containers that do not resolve by themselves.
STUCK = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
}
UNPULLED = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
MAX_PULL_SECONDS = 300.0  # seconds until an image that cannot be pulled is given up: the registry may be unavailable for a moment
POD_CREATION_SECONDS = 20.0  # seconds until a Job without a Pod is reported
MAX_MESSAGE_CHARACTERS = 2000  # characters of a condition's message


def owner(document: Document) -> Document:
    """Return an owner reference to the object: its dependents are deleted with it."""
    return {
        "apiVersion": document["apiVersion"],
        "kind": document["kind"],
        "name": document["metadata"]["name"],
        "uid": document["metadata"]["uid"],
        "controller": True,
    }


def owned_by(document: Document, uid: str) -> bool:
    """Return whether the object with that uid owns the document."""
    return any(each.get("uid") == uid for each in document["metadata"].get("ownerReferences", ()))


def parse_time(text: str) -> datetime:
    """Return a time as Kubernetes writes it. Without a zone it is in UTC; an invalid one is the earliest time."""
    try:
        found = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def format_time(time: datetime) -> str:
    """Return a time as Kubernetes writes it, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(document: Document | None, kind: str) -> Document:
    """Return the status condition of that type, {} if there is none."""
    found = (document or {}).get("status", {}).get("conditions") or ()
    return next((each for each in found if each["type"] == kind), {})


def is_true(document: Document | None, kind: str) -> bool:
    """Return whether the condition is True."""
    return bool(condition(document, kind).get("status") == "True")


def conditioned(document: Document, kind: str, status: str, reason: str, message: str, *, now: datetime) -> Document:
    """Return a condition. The time of the last transition stays unless the status changes."""
    before = condition(document, kind)
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message[:MAX_MESSAGE_CHARACTERS],
        "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == status else format_time(now),
        "observedGeneration": document["metadata"].get("generation"),
    }


def ended(job: Document) -> str | None:
    """Return `Complete` or `Failed` for a Job that has ended, else None."""
    return next((each for each in ("Complete", "Failed") if is_true(job, each)), None)


def ended_at(job: Document) -> str | None:
    """Return when the Job ended."""
    found: str | None = job.get("status", {}).get("completionTime") or condition(job, "Failed").get("lastTransitionTime")
    return found


def results(pods: list[Document]) -> list[RunResult]:
    """Return the results of a Job's Pods: those that published or succeeded first, then the newest."""
    ordered = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    found = [result for pod in ordered for result in _results_of(pod)]
    return sorted(found, key=lambda result: (result.exit_code != 0, result.artifact_uri is None))


def _results_of(pod: Document) -> list[RunResult]:
    found = []
    for container in pod.get("status", {}).get("containerStatuses") or ():
        for state in (container.get("state", {}), container.get("lastState", {})):
            message = state.get("terminated", {}).get("message")
            if message:
                try:
                    found.append(RunResult.model_validate_json(message))
                except ValidationError:  # of another release, or the node's message
                    continue
    return found


def out_of_memory(pods: list[Document]) -> int:
    """Count the Pods that failed because they needed more memory than their limit."""
    failed = [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed"]
    ends = [
        each.get("state", {}).get("terminated", {}) for pod in failed for each in pod["status"].get("containerStatuses") or ()
    ]
    return sum(each.get("reason") == "OOMKilled" for each in ends)


def last_end(pods: list[Document]) -> str | None:
    """Return why the newest failed Pod has ended."""
    failed = [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed"]
    for pod in sorted(failed, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True):
        for container in pod["status"].get("containerStatuses") or ():
            terminated = container.get("state", {}).get("terminated", {})
            if terminated.get("reason") == "OOMKilled":
                return "OOMKilled: it needed more memory than its limit"
        said = next((each.message for each in _results_of(pod) if each.message), None)
        return said or str(pod["status"].get("message") or pod["status"].get("reason") or "") or None
    return None


def trouble(pods: list[Document]) -> str | None:
    """Return why a Pod does not start, in the words of the node or the scheduler."""
    for pod in pods:
        for container in _containers(pod):
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") in STUCK:
                return f"{waiting['reason']}: {waiting.get('message', '')}"
            if (ended := _last_of_several_failures(container)) is not None:
                return f"{ended.get('reason', 'Error')}: {ended.get('message') or waiting.get('message', '')}".strip()
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            return f"{scheduled.get('reason')}: {scheduled.get('message', '')}"
    return None


def unpulled(pods: list[Document], *, now: datetime) -> float | None:
    """Return for how many seconds the image of one of these Pods could not be pulled; None: all images are there."""
    waiting = [pod for pod in pods if any(_waits_for_an_image(each) for each in _containers(pod))]
    began = [str(pod["status"].get("startTime") or pod["metadata"]["creationTimestamp"]) for pod in waiting]
    return max(((now - parse_time(each)).total_seconds() for each in began), default=None)


def image_of(job: Document) -> str | None:
    """Return the image of a Job."""
    containers = ((job.get("spec") or {}).get("template") or {}).get("spec", {}).get("containers") or ()
    return next((each.get("image") for each in containers), None)


def _containers(pod: Document) -> list[Document]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _waits_for_an_image(container: Document) -> bool:
    return container.get("state", {}).get("waiting", {}).get("reason") in UNPULLED


def no_pod(job: Document, pods: list[Document], *, perhaps: str, fields: str, now: datetime) -> str | None:
    """Return a message if a Job has no Pod, with possible causes. The real one is in the Job's events, which are not read here.

    perhaps: another cause, with a comma at its end. fields: where requests and limits can be set.
    """
    if pods or (now - parse_time(job["metadata"]["creationTimestamp"])).total_seconds() < POD_CREATION_SECONDS:
        return None
    missing = unset_quantities(job)
    quota = f"a quota on {' or '.join(missing)} (not set: expected in {fields}), another quota" if missing else "a quota"
    return (
        f"no Pod was created: see `kubectl describe job {job['metadata']['name']}`; "
        f"possible causes: {perhaps}{quota} or Pod Security"
    )


def unset_quantities(job: Document) -> list[str]:
    """Return requests and limits of CPU and memory that a Job's container lacks: a quota on one refuses its Pod.

    With a limit alone, the API server sets the request.
    """
    containers = ((job.get("spec") or {}).get("template") or {}).get("spec", {}).get("containers") or ()
    missing = []
    for container in containers:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        missing += [f"requests.{each}" for each in ("cpu", "memory") if each not in limits and each not in requests]
        missing += [f"limits.{each}" for each in ("cpu", "memory") if each not in limits]
    return missing


def _last_of_several_failures(container: Document) -> Document | None:
    """Return the last end of a container that is restarted repeatedly, None for others.

    The node reports CrashLoopBackOff only for a part of the time between two starts.
    """
    state, before = container.get("state", {}), container.get("lastState", {}).get("terminated", {})
    if state.get("waiting", {}).get("reason") == "CrashLoopBackOff":
        return dict(before)
    ended = state.get("terminated") or before
    failures = container.get("restartCount", 0) + ("terminated" in state)
    return dict(ended) if failures > 1 and ended.get("exitCode") and not container.get("ready") else None
