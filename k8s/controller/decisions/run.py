"""A TrainingRun's pass: a Job, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from k8s.controller.api.v1alpha1 import GateSpec, TrainingRunSpec, TrainingSpec
from k8s.controller.builders.training_job import Images, meeting_point, rendezvous_policy, training_job
from k8s.controller.builders.training_run import adopted, comparable
from k8s.controller.decisions.gate import judge
from k8s.controller.decisions.steps import Create, Delete, Merge, Plan, Step
from k8s.controller.objects import names
from k8s.controller.objects.documents import (
    PULLING,
    condition,
    ended,
    ended_at,
    format_time,
    image_of,
    last_end,
    no_pod,
    out_of_memory,
    parse_time,
    results,
    trouble,
    unpulled,
)
from k8s.controller.objects.kinds import JOB, TEXT_CLASSIFIER, TRAINING_RUN, Document
from k8s.controller.observed.classifier import FINAL
from k8s.controller.observed.wording import in_the_users_terms
from model.gate import GateScores
from model.run_result import RunResult

INDEX = "batch.kubernetes.io/job-completion-index"
SAME_POINT = 2  # attempts of a training without checkpoints that ended for want of memory: it always gets as far again
RESOURCES = "spec.training.resources, or resources.trainings of the controller's chart"
LOOK_AGAIN = 15.0  # seconds, at a Pod that has not started: nothing tells of that


@dataclass(frozen=True)
class SeenRun:
    """A run, and all that bears on it. classifier: whose it is or may become, if there is one of that name. taken: a Job of its
    name is somebody else's.
    """

    run: Document
    spec: TrainingRunSpec
    classifier: Document | None
    job: Document | None
    pods: list[Document]
    now: datetime
    taken: bool = False

    @property
    def status(self) -> Document:
        """As it was last written."""
        status: Document = self.run.get("status") or {}
        return status

    @property
    def is_going(self) -> bool:
        """Whether it is being deleted or is over: nothing is begun for it."""
        return "deletionTimestamp" in self.run["metadata"] or self.status.get("state") in FINAL

    @property
    def belongs(self) -> bool:
        """Whether it is one of a classifier's, and not a training of its own."""
        return belongs_to_a_classifier(self.run)

    @property
    def is_its_turn(self) -> bool:
        """One run of a classifier goes on at a time."""
        if not self.belongs:
            return True
        active = ((self.classifier or {}).get("status") or {}).get("activeRun")
        return bool(active == self.run["metadata"]["name"])


def belongs_to_a_classifier(run: Document) -> bool:
    """By its owner: a label may have come with a copy of another's manifest."""
    return any(each["kind"] == TEXT_CLASSIFIER.kind for each in run["metadata"].get("ownerReferences") or ())


def decide_run(seen: SeenRun, images: Images) -> Plan:
    """What a TrainingRun needs next."""
    if "deletionTimestamp" in seen.run["metadata"]:
        return Plan()  # what it made goes with it
    if seen.status.get("state") in FINAL:
        return _after(seen)
    if seen.spec.dataset is None:
        return _adopt(seen)
    if seen.spec.cancelled:
        return _supersede(seen)
    return _go_on(seen, images) if seen.job else _start(seen, images)


def _go_on(seen: SeenRun, images: Images) -> Plan:
    assert seen.job is not None  # noqa: S101 - the caller has looked
    how = ended(seen.job)
    if how is None:
        return _without_image(seen, images) or _running(seen)
    return _complete(seen) if how == "Complete" else _fail(seen)


def _without_image(seen: SeenRun, images: Images) -> Plan | None:
    """An attempt whose image cannot be pulled: with another image it begins anew, with the same it is given up after a while."""
    assert seen.job is not None  # noqa: S101 - the caller has looked
    waited, image = unpulled(seen.pods, now=seen.now), image_of(seen.job)
    if waited is None:
        return None
    steps: tuple[Step, ...] = (Delete(JOB, seen.job),)
    if image not in (None, images.trainer):
        message = f"begins again with {images.trainer}: {image} could not be pulled"
        return _status(seen, steps=steps, state="Pending", message=message, again=1.0)
    if waited < PULLING:
        return None
    said = in_the_users_terms(trouble(seen.pods) or "its image cannot be pulled", seen.spec)
    message = f"{said}; given up after {PULLING / 60:g} minutes: another image of the trainer begins it again"
    now = format_time(seen.now)
    return _status(seen, steps=steps, state="Failed", message=message, image=images.trainer, finishedAt=now)


def _adopt(seen: SeenRun) -> Plan:
    """A run that was made by hand takes what it lacks from its classifier, once."""
    if seen.classifier is None:
        message = (
            f"spec.classifier is {seen.spec.classifier!r}: there is no TextClassifier of this name here to take the dataset "
            "from; expected one, or spec.dataset and spec.storage"
        )
        return _status(seen, state="Failed", message=message, finishedAt=format_time(seen.now))
    # Behind all that the controller has made: its place among runs of the same second does not matter.
    return Plan((Merge(TRAINING_RUN, seen.run, adopted(seen.classifier, sequence=0)),))


def _after(seen: SeenRun) -> Plan:
    """It is over. A gate that was changed judges a version anew that it has refused; what has passed has passed."""
    steps = (Delete(JOB, seen.job),) if seen.job and seen.status["state"] == "Superseded" else ()
    if (seen.run["metadata"].get("annotations") or {}).get(names.FILES) == "deleted" and not seen.status.get("deleted"):
        return _status(seen, steps=steps, deleted=True)
    scores = _noted_scores(seen)
    if seen.status["state"] in ("Held", "Rejected") and scores and not seen.status.get("deleted"):
        return _status(seen, steps=steps, **_judged(seen, scores))
    return Plan(steps)


def _noted_scores(seen: SeenRun) -> GateScores | None:
    """What the trainer told, if it is still there: the API server lets whoever may write a status write anything here."""
    try:
        return GateScores.model_validate((seen.status.get("result") or {}).get("gate"))
    except ValidationError:
        return None


def _supersede(seen: SeenRun) -> Plan:
    """First it is noted that it has begun, since it may have left something; then its Job goes; then it is said to have gone."""
    if seen.job is not None and ended(seen.job) is None:
        began = seen.job.get("status", {}).get("startTime") or seen.job["metadata"]["creationTimestamp"]
        steps = (Delete(JOB, seen.job),) if "startedAt" in seen.status else ()
        return _status(seen, steps=steps, message="is being stopped", startedAt=began, again=LOOK_AGAIN if steps else 0.0)
    if seen.job is not None and ended(seen.job) == "Complete" and results(seen.pods):
        return _complete(seen)  # it was faster
    superseded = names.SUPERSEDED in (seen.run["metadata"].get("annotations") or {})
    message = "stopped: its classifier asks for another training" if superseded else "stopped: spec.cancelled was set"
    again = None if seen.job is None else 0.0  # a Job that is over goes once this is written down
    return _status(seen, state="Superseded", message=message, finishedAt=format_time(seen.now), again=again)


def _start(seen: SeenRun, images: Images) -> Plan:
    if not seen.is_its_turn:
        return _wait(seen)
    if seen.taken:
        message = "there is a Job of this name that was not made for this: delete it, or give this another name"
        return _status(seen, state="Pending", message=message, again=LOOK_AGAIN)
    if compared := _what_is_served_now(seen):
        return Plan((Merge(TRAINING_RUN, seen.run, {"spec": {"served": compared}}),))
    steps: tuple[Step, ...] = (Create(training_job(seen.run, seen.spec, images)),)
    if (seen.spec.training or TrainingSpec()).nodes > 1:
        # The policy before the Pods: the first one listens as soon as it starts.
        steps = (Create(rendezvous_policy(seen.run, seen.spec)), Create(meeting_point(seen.run, seen.spec)), *steps)
    return _status(seen, steps=steps, state="Pending", message="its Pod starts", again=LOOK_AGAIN)


def _what_is_served_now(seen: SeenRun) -> Document | None:
    """With what a run by hand, which may have waited, is compared; none where that is settled."""
    by_hand = seen.spec.trigger is not None and seen.spec.trigger.reason == "Manual"
    if not by_hand or seen.spec.served is not None or seen.classifier is None or seen.spec.storage is None:
        return None
    return comparable((seen.classifier.get("status") or {}).get("served"), seen.spec.storage.uri)


def _wait(seen: SeenRun) -> Plan:
    active = ((seen.classifier or {}).get("status") or {}).get("activeRun")
    message = f"waits for {active} to end" if active else "waits for its turn"
    if ((seen.classifier or {}).get("spec") or {}).get("suspend"):
        message = "waits: spec.suspend of its TextClassifier is true"
    return _status(seen, state="Pending", message=message)


def _running(seen: SeenRun) -> Plan:
    assert seen.job is not None  # noqa: S101 - the caller has looked
    phases = [pod.get("status", {}).get("phase") for pod in seen.pods]
    status, ending = seen.job.get("status", {}), last_end(seen.pods)
    started, failed = status.get("startTime"), status.get("failed", 0)
    before = in_the_users_terms(ending, seen.spec) if ending else None
    if out_of_memory(seen.pods) >= SAME_POINT and not (seen.spec.training or TrainingSpec()).base_model:
        return _gives_up(seen, f"{before}, at the same point in {SAME_POINT} attempts: given up")
    bad = before if failed > 1 else None  # one that is lost is nothing to worry about; several are, until one succeeds
    attempt = f", attempt {failed + 1} of {seen.job['spec']['backoffLimit'] + 1}" if failed and "spec" in seen.job else ""
    after = f"{attempt}; the last ended with: {before}" if before else attempt
    problem = trouble(seen.pods) or _no_pod(seen, seen.job)
    if problem:
        said = in_the_users_terms(problem, seen.spec)
        return _status(seen, state="Pending", message=said, trouble=said, startedAt=started, again=LOOK_AGAIN)
    if not {"Running", "Succeeded"}.intersection(phases):
        return _status(seen, state="Pending", message=f"its Pod starts{after}", trouble=bad, startedAt=started, again=LOOK_AGAIN)
    return _status(seen, state="Running", message=f"trains{after}", trouble=bad, startedAt=started)


def _gives_up(seen: SeenRun, message: str) -> Plan:
    """Stop a training whose next attempt would end like the ones before."""
    assert seen.job is not None  # noqa: S101 - the caller has looked
    now, started = format_time(seen.now), seen.job.get("status", {}).get("startTime")
    return _status(seen, steps=(Delete(JOB, seen.job),), state="Failed", message=message, startedAt=started, finishedAt=now)


def _no_pod(seen: SeenRun, job: Document) -> str | None:
    account = seen.spec.storage.service_account_name if seen.spec.storage else None
    perhaps = f"a ServiceAccount {account!r} that is not there (spec.storage.serviceAccountName), " if account else ""
    return no_pod(job, seen.pods, perhaps=perhaps, fields=RESOURCES, now=seen.now)


def _complete(seen: SeenRun) -> Plan:
    """The version is published. If nobody can say so any more, the same Job finds it and tells it again."""
    assert seen.job is not None  # noqa: S101 - the caller has looked
    told = next((each for each in results(seen.pods) if each.exit_code == 0 and each.artifact_uri and each.gate), None)
    if told is None and any(map(_could_say, seen.pods)):
        message = "what it said at its end cannot be read: the trainer's image is of another release than the controller"
        return _status(seen, **_times(seen.job), state="Failed", message=message)
    if told is None:
        return _status(seen, steps=(Delete(JOB, seen.job),), message="its Pod is gone: the result is asked for again", again=1.0)
    if problem := _is_of_another(seen, told):
        return _status(seen, **_times(seen.job), state="Failed", message=problem)
    return _status(seen, **_times(seen.job), **_result(seen, told))


def _is_of_another(seen: SeenRun, told: RunResult) -> str | None:
    """What a Pod said that this run cannot have published: whoever may make Pods may also write a result."""
    assert seen.spec.storage is not None  # noqa: S101 - complete
    name = seen.run["metadata"]["name"]
    uri = names.version_uri(seen.spec.storage.uri, seen.spec.classifier, name)
    if (told.classifier, told.version, told.artifact_uri) == (seen.spec.classifier, name, uri):
        return None
    said = f"{told.version} of {told.classifier} at {told.artifact_uri}"
    return f"its Pod says that it published {said[:200]!r}: expected {name} of {seen.spec.classifier} at {uri}"


def _could_say(pod: Document) -> bool:
    """Whether this Pod came to its end and is the one, of several, that tells the version."""
    first = (pod["metadata"].get("labels") or {}).get(INDEX, "0") == "0"
    return bool(first and pod.get("status", {}).get("phase") == "Succeeded")


def _fail(seen: SeenRun) -> Plan:
    assert seen.job is not None  # noqa: S101 - the caller has looked
    said = next((each.message for each in results(seen.pods) if each.message), None) or last_end(seen.pods)
    failed = condition(seen.job, "Failed")
    if failed.get("reason") == "DeadlineExceeded":
        said = None  # that is of an attempt before
    message = said or failed.get("message") or str(failed.get("reason", "its Job failed"))
    return _status(seen, **_times(seen.job), state="Failed", message=in_the_users_terms(message, seen.spec))


def _times(job: Document) -> Document:
    started, finished = job.get("status", {}).get("startTime"), ended_at(job)
    seconds = (parse_time(finished) - parse_time(started)).total_seconds() if started and finished else None
    return {"startedAt": started, "finishedAt": finished, "seconds": seconds}


def _result(seen: SeenRun, told: RunResult) -> Document:
    """The columns of the table of trainings."""
    assert told.gate is not None  # noqa: S101 - the caller has looked
    return {
        "datasetSha256": told.dataset_sha256,
        "testSha256": told.test_sha256,
        "datasetHash": told.dataset_sha256[:12] if told.dataset_sha256 else None,
        "version": told.version,
        "artifactUri": told.artifact_uri,
        "manifestSha256": told.manifest_sha256,
        "bestCheckpoint": told.best_checkpoint,
        "mlflowRunId": told.mlflow_run_id,
        "baselineScore": round(told.gate.baseline, 4),
        "servedScore": None if told.gate.served_value is None else round(told.gate.served_value, 4),
        "servedVersion": told.gate.served_version,
        "result": told.model_dump(mode="json", exclude_none=True),
        **_judged(seen, told.gate),
    }


def _judged(seen: SeenRun, scores: GateScores) -> Document:
    gate, compared = seen.spec.gate or GateSpec(), seen.spec.served
    name, served = seen.run["metadata"]["name"], compared.version if compared else None
    verdict = judge(scores, gate, version=name, served=served)
    return {
        "state": verdict.state,
        "score": round(scores.value, 4),
        "minimum": gate.minimum,
        "passed": verdict.passed,
        "message": verdict.message,
    }


def _status(seen: SeenRun, *, steps: tuple[Step, ...] = (), again: float | None = None, **facts: object) -> Plan:
    known = {**seen.status, "trouble": None, "observedGeneration": seen.run["metadata"].get("generation"), **facts}
    return Plan(steps, {field: value for field, value in known.items() if value is not None}, again)
