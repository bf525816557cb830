"""Deletion of a TextClassifier together with its published versions."""

from __future__ import annotations

from k8s.controller.builders.maintenance_jobs import prune
from k8s.controller.builders.training_job import Images
from k8s.controller.decisions.retention import begins_again, why_not
from k8s.controller.decisions.steps import Create, Delete, Merge, Plan, Step
from k8s.controller.objects import names
from k8s.controller.objects.documents import condition, conditioned, ended, ended_at, parse_time
from k8s.controller.objects.kinds import INFERENCE_SERVICE, JOB, TEXT_CLASSIFIER, TRAINING_RUN, Document
from k8s.controller.observed.classifier import ObservedClassifier

POLL_SECONDS = 5.0
RETRY_SECONDS = 60.0  # between a Job that failed and the next one
NAMESPACE_TERMINATING = "being terminated"  # part of the API server's message about a namespace that is being deleted


def finalize(observed: ObservedClassifier, images: Images) -> Plan:
    """Stop runs and servers, delete the versions, remove the finalizer. Owner references delete the rest."""
    if names.FINALIZER not in (observed.classifier["metadata"].get("finalizers") or ()):
        return Plan()
    last = without_finalizer(observed.classifier)
    if observed.spec.storage.deletion_policy != "Delete":
        return Plan((last,))
    users: list[Step] = [Delete(TRAINING_RUN, run.document) for run in observed.runs]
    if observed.service is not None:
        users.append(Delete(INFERENCE_SERVICE, observed.service))
    if users or observed.training_pods_left:
        return Plan(tuple(users), _waiting(observed, "waits for its Pods to stop"), requeue_after=POLL_SECONDS)
    return _prune(observed, images) or Plan((last,))


def _prune(observed: ObservedClassifier, images: Images) -> Plan | None:
    """Return the steps that delete the versions; None once they are deleted."""
    name = names.prune_name(observed.name, ())
    pruning = next((each for each in observed.jobs if each.job["metadata"]["name"] == name), None)
    if pruning is None:
        return Plan(
            (Create(prune(observed.classifier, observed.spec, images, versions=())),),
            _deleting(observed, None),
            requeue_after=POLL_SECONDS,
        )
    outcome = ended(pruning.job)
    if outcome == "Complete":
        return None
    if begins_again(pruning, images, observed):
        return Plan((Delete(JOB, pruning.job),), requeue_after=1.0)
    status = _deleting(observed, why_not(pruning, observed))
    if outcome is None:
        return Plan(status=status, requeue_after=POLL_SECONDS)
    ended_then = parse_time(ended_at(pruning.job) or pruning.job["metadata"]["creationTimestamp"])
    left = RETRY_SECONDS - (observed.now - ended_then).total_seconds()
    return Plan(() if left > 0 else (Delete(JOB, pruning.job),), status, requeue_after=max(left, POLL_SECONDS))


def _deleting(observed: ObservedClassifier, problem: str | None) -> Document | None:
    """Return the status while the versions are deleted; None: leave it. The error of an attempt stays until the next one ends."""
    was = [condition(observed.classifier, each).get("reason") for each in ("Progressing", "Degraded")]
    if problem is None and was == ["Deleting", "VersionsNotDeleted"]:
        return None
    return _waiting(observed, "its versions are being deleted", problem)


def _waiting(observed: ObservedClassifier, what: str, problem: str | None = None) -> Document:
    """Return the status of a classifier that is being deleted. Earlier problems are dropped."""
    going = f"is being deleted: {what}"
    message = f"its versions cannot be deleted: {problem}" if problem else going
    message = f"{message[:1900]}; to delete the TextClassifier without them, set spec.storage.deletionPolicy to Keep"
    degraded = ("True", "VersionsNotDeleted", message) if problem else ("False", "AsExpected", "no problem is known")
    values = {
        "Ready": ("False", "NothingServed", "is being deleted"),
        "Progressing": ("True", "Deleting", going),
        "Degraded": degraded,
    }
    others = [each for each in observed.status.get("conditions") or () if each["type"] not in values]
    now = [conditioned(observed.classifier, kind, *facts, now=observed.now) for kind, facts in values.items()]
    summary = {"state": "Failed" if problem else "Deleting", "message": message, "observedGeneration": observed.generation}
    return {**observed.status, **summary, "conditions": [*others, *now]}


def without_finalizer(classifier: Document) -> Merge:
    """Return the step that removes the controller's finalizer, so that the API server deletes the classifier."""
    others = [each for each in classifier["metadata"].get("finalizers") or () if each != names.FINALIZER]
    return Merge(TEXT_CLASSIFIER, classifier, {"metadata": {"finalizers": others}})
