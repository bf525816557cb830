"""A TextClassifier that is being deleted and takes its published versions with it."""

from __future__ import annotations

from k8s.controller import names
from k8s.controller.builders.small_jobs import prune
from k8s.controller.builders.training_job import Images
from k8s.controller.decisions.history import why
from k8s.controller.decisions.seen import Seen
from k8s.controller.decisions.steps import Create, Delete, Merge, Plan, Step
from k8s.controller.kinds import INFERENCE_SERVICE, JOB, TEXT_CLASSIFIER, TRAINING_RUN, Document
from k8s.controller.objects import ended, ended_at, parse_time

LOOK_AGAIN = 5.0  # seconds
PAUSE = 60.0  # seconds after a Job that could not delete them, before the next


GOING = "being terminated"  # what the API server says of a namespace in which nothing can be made any more


def let_go(seen: Seen, images: Images) -> Plan:
    """Stop what writes and reads versions, delete these, let go. The rest goes by its owner references."""
    if names.FINALIZER not in (seen.classifier["metadata"].get("finalizers") or ()):
        return Plan()
    last = released(seen.classifier)
    if seen.spec.storage.deletion_policy != "Delete":
        return Plan((last,))
    users: list[Step] = [Delete(TRAINING_RUN, run.document) for run in seen.runs]
    if seen.service is not None:
        users.append(Delete(INFERENCE_SERVICE, seen.service))
    if users or seen.busy:
        return Plan(tuple(users), again=LOOK_AGAIN)
    name = names.prune_name(seen.name, ())
    found = next((each for each in seen.jobs if each.job["metadata"]["name"] == name), None)
    if found is None:
        return Plan((Create(prune(seen.classifier, seen.spec, images, versions=())),), again=LOOK_AGAIN)
    if ended(found.job) == "Failed":
        message = f"its versions could not be deleted: {why(found)}; spec.storage.deletionPolicy: Keep lets it go without"
        status = {**seen.status, "state": "Failed", "message": message}
        ended_then = parse_time(ended_at(found.job) or found.job["metadata"]["creationTimestamp"])
        left = PAUSE - (seen.now - ended_then).total_seconds()
        return Plan(() if left > 0 else (Delete(JOB, found.job),), status, again=max(left, LOOK_AGAIN))
    return Plan((last,)) if ended(found.job) else Plan(again=LOOK_AGAIN)


def released(classifier: Document) -> Merge:
    """Without our finalizer, so that it goes."""
    others = [each for each in classifier["metadata"].get("finalizers") or () if each != names.FINALIZER]
    return Merge(TEXT_CLASSIFIER, classifier, {"metadata": {"finalizers": others}})
