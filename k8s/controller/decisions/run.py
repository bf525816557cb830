"""Reconciliation of a TrainingRun: its Job, and the outcome.

A run whose third attempt trains:

    status:
      state: Running
      message: "trains, attempt 3 of 7; the last ended with: s3://datasets/arxiv.parquet: no answer from the storage"
      trouble: "s3://datasets/arxiv.parquet: no answer from the storage"
      startedAt: "2026-03-09T08:00:00Z"

The same run at its end, without the fields that are copied from the trainer's result:

    status:
      state: Published
      message: "passes: micro-f1 0.5901 is 0.0079 ahead of the served version arxiv-3-5f2b8c (0.5822 on the same texts)"
      startedAt: "2026-03-09T08:00:00Z"
      finishedAt: "2026-03-09T08:38:00Z"
      seconds: 2280
      version: arxiv-5-91c0d4
      artifactUri: s3://models/arxiv/arxiv-5-91c0d4/
      score: 0.5901
      servedScore: 0.5822
      servedVersion: arxiv-3-5f2b8c
      passed: true
"""

from __future__ import annotations

from k8s.controller.api.v1alpha1 import TrainingSpec
from k8s.controller.builders.pod_retries import NO_RETRY_EXIT_CODES
from k8s.controller.builders.training_job import Images, headless_service, peer_network_policy, training_job
from k8s.controller.builders.training_run import asked_for, belonging
from k8s.controller.decisions.judging import judged, served_to_compare
from k8s.controller.decisions.steps import Create, Delete, Merge, Plan, Step
from k8s.controller.objects import names
from k8s.controller.objects.documents import (
    MAX_PULL_SECONDS,
    condition,
    ended,
    ended_at,
    format_time,
    image_of,
    is_true,
    last_end,
    no_pod,
    out_of_memory,
    parse_time,
    results,
    trouble,
    unpulled,
)
from k8s.controller.objects.kinds import JOB, TRAINING_RUN, Document
from k8s.controller.observed.foreign_messages import in_the_users_terms
from k8s.controller.observed.run import FINAL_STATES, JUDGED_STATES, ObservedRun
from model.run_result import RunResult

STORAGE_UNAVAILABLE = 75  # exit code of the trainer: a storage, or a hub, did not answer
INDEX = "batch.kubernetes.io/job-completion-index"
# A training without checkpoints is given up after this many attempts ran out of memory: every attempt needs the same.
MAX_OOM_ATTEMPTS = 2
RESOURCES = "spec.training.resources, or resources.trainings of the controller's chart"
POD_POLL_SECONDS = 15.0  # between two checks of a Pod that has not started: its events are not watched


def decide_run(observed: ObservedRun, images: Images) -> Plan:
    """Return the next steps and the status of a TrainingRun."""
    if "deletionTimestamp" in observed.run["metadata"]:
        return Plan()  # its objects are deleted by their owner references
    if observed.status.get("state") in FINAL_STATES:
        return _judge_finished(observed)
    if observed.spec.dataset is None:
        return _adopt(observed)
    if observed.spec.cancelled:
        return _supersede(observed)
    return _follow_job(observed, images) if observed.job else _start(observed, images)


def _follow_job(observed: ObservedRun, images: Images) -> Plan:
    assert observed.job is not None  # noqa: S101 - the caller has checked
    how = ended(observed.job)
    if how is None:
        return _without_image(observed, images) or _running(observed)
    return _complete(observed) if how == "Complete" else _fail(observed)


def _without_image(observed: ObservedRun, images: Images) -> Plan | None:
    """Return the plan if the image cannot be pulled: start again with a new image, or give up after MAX_PULL_SECONDS."""
    assert observed.job is not None  # noqa: S101 - the caller has checked
    waited, image = unpulled(observed.pods, now=observed.now), image_of(observed.job)
    if waited is None:
        return None
    steps: tuple[Step, ...] = (Delete(JOB, observed.job),)
    if image not in (None, images.trainer):
        message = f"starts again with {images.trainer}: {image} could not be pulled"
        return _status(observed, steps=steps, state="Pending", message=message, requeue_after=1.0)
    if waited < MAX_PULL_SECONDS:
        return None
    said = in_the_users_terms(trouble(observed.pods) or "its image cannot be pulled", observed.spec)
    message = (
        f"{said}; given up after {MAX_PULL_SECONDS / 60:g} minutes; a controller with another trainer image starts a new training"
    )
    now = format_time(observed.now)
    return _status(observed, steps=steps, state="Failed", message=message, image=images.trainer, finishedAt=now)


def _adopt(observed: ObservedRun) -> Plan:
    """Copy from the classifier, once, the fields that a run made by hand lacks."""
    if observed.classifier is None:
        message = (
            f"spec.classifier is {observed.spec.classifier!r}: there is no TextClassifier of this name in the namespace; "
            "expected one, or spec.dataset and spec.storage"
        )
        return _status(observed, state="Failed", message=message, finishedAt=format_time(observed.now))
    change = {
        # Sequence 0: the order among runs made by hand in one second does not matter.
        "metadata": belonging(observed.classifier, sequence=0),
        "spec": {**asked_for(observed.classifier), "trigger": {"reason": "Manual", "token": "", "message": "made by hand"}},
    }
    return Plan((Merge(TRAINING_RUN, observed.run, change),))


def _judge_finished(observed: ObservedRun) -> Plan:
    """Judge the version of a finished run by the gate of its spec, which may have changed."""
    steps = (Delete(JOB, observed.job),) if observed.job and observed.status["state"] == "Superseded" else ()
    if (observed.run["metadata"].get("annotations") or {}).get(names.FILES) == "deleted" and not observed.status.get("deleted"):
        return _status(observed, steps=steps, deleted=True)
    if observed.status["state"] in JUDGED_STATES and observed.record and not observed.status.get("deleted"):
        return _status(observed, steps=steps, **judged(observed, observed.record))
    return Plan(steps)


def _supersede(observed: ObservedRun) -> Plan:
    """Stop a run: record its start, since it may have left files, then delete its Job, then record its end."""
    if observed.job is not None and ended(observed.job) is None:
        began = observed.job.get("status", {}).get("startTime") or observed.job["metadata"]["creationTimestamp"]
        steps = (Delete(JOB, observed.job),) if "startedAt" in observed.status else ()
        return _status(
            observed, steps=steps, message="is being stopped", startedAt=began, requeue_after=POD_POLL_SECONDS if steps else 0.0
        )
    if observed.job is not None and ended(observed.job) == "Complete" and results(observed.pods):
        return _complete(observed)  # it ended before it was stopped
    superseded = names.SUPERSEDED in (observed.run["metadata"].get("annotations") or {})
    message = "stopped: its classifier asks for another training" if superseded else "stopped: spec.cancelled is true"
    requeue_after = None if observed.job is None else 0.0  # the ended Job is deleted once this status is written
    return _status(
        observed, state="Superseded", message=message, finishedAt=format_time(observed.now), requeue_after=requeue_after
    )


def _start(observed: ObservedRun, images: Images) -> Plan:
    if not observed.is_its_turn:
        return _wait(observed)
    if observed.name_conflict:
        message = "a Job of this name exists that does not belong to this TrainingRun: delete one of them"
        return _status(observed, state="Pending", message=message, requeue_after=POD_POLL_SECONDS)
    if compared := _served_version(observed):
        return Plan((Merge(TRAINING_RUN, observed.run, {"spec": {"served": compared}}),))
    steps: tuple[Step, ...] = (Create(training_job(observed.run, observed.spec, images)),)
    if (observed.spec.training or TrainingSpec()).nodes > 1:
        # The policy before the Pods: the first one listens as soon as it starts.
        steps = (
            Create(peer_network_policy(observed.run, observed.spec)),
            Create(headless_service(observed.run, observed.spec)),
            *steps,
        )
    return _status(observed, steps=steps, state="Pending", message="its Pod starts", requeue_after=POD_POLL_SECONDS)


def _served_version(observed: ObservedRun) -> Document | None:
    """Return the served version to compare a run made by hand with; None if it is already set or nothing is served."""
    by_hand = observed.spec.trigger is not None and observed.spec.trigger.reason == "Manual"
    if not by_hand or observed.spec.served is not None or observed.classifier is None or observed.spec.storage is None:
        return None
    return served_to_compare((observed.classifier.get("status") or {}).get("served"), observed.spec.storage.uri)


def _wait(observed: ObservedRun) -> Plan:
    active = ((observed.classifier or {}).get("status") or {}).get("activeRun")
    message = f"waits for {active} to end" if active else "waits for its turn"
    if ((observed.classifier or {}).get("spec") or {}).get("suspend"):
        message = "waits: spec.suspend of its TextClassifier is true"
    return _status(observed, state="Pending", message=message)


def _running(observed: ObservedRun) -> Plan:
    assert observed.job is not None  # noqa: S101 - the caller has checked
    phases = [pod.get("status", {}).get("phase") for pod in observed.pods]
    status, ending = observed.job.get("status", {}), last_end(observed.pods)
    started, failed = status.get("startTime"), status.get("failed", 0)
    last_error = in_the_users_terms(ending, observed.spec) if ending else None
    if out_of_memory(observed.pods) >= MAX_OOM_ATTEMPTS and not (observed.spec.training or TrainingSpec()).base_model:
        return _give_up(
            observed,
            f"{last_error}, in {MAX_OOM_ATTEMPTS} attempts: "
            "given up, since without checkpoints every attempt needs the same memory",
        )
    if is_true(observed.job, "FailureTarget") or any(each.exit_code in NO_RETRY_EXIT_CODES for each in results(observed.pods)):
        state = observed.status.get("state", "Pending")  # until the Job has the condition Failed
        return _status(observed, state=state, message=f"ends: {last_error or 'its Job fails'}", startedAt=started)
    bad = last_error if failed > 1 else None  # one failed Pod is no problem; several are, until one succeeds
    attempt = f", attempt {failed + 1} of {_attempts(observed.job)}" if failed else ""
    after = f"{attempt}; the last ended with: {last_error}" if last_error else attempt
    problem = trouble(observed.pods) or _no_pod(observed, observed.job)
    if problem:
        said = in_the_users_terms(problem, observed.spec)
        return _status(observed, state="Pending", message=said, trouble=said, startedAt=started, requeue_after=POD_POLL_SECONDS)
    if not {"Running", "Succeeded"}.intersection(phases):
        return _status(
            observed,
            state="Pending",
            message=f"its Pod starts{after}",
            trouble=bad,
            startedAt=started,
            requeue_after=POD_POLL_SECONDS,
        )
    return _status(observed, state="Running", message=f"trains{after}", trouble=bad, startedAt=started)


def _give_up(observed: ObservedRun, message: str) -> Plan:
    """Stop a training whose next attempt would fail like the earlier ones."""
    assert observed.job is not None  # noqa: S101 - the caller has checked
    now, started = format_time(observed.now), observed.job.get("status", {}).get("startTime")
    return _status(
        observed, steps=(Delete(JOB, observed.job),), state="Failed", message=message, startedAt=started, finishedAt=now
    )


def _no_pod(observed: ObservedRun, job: Document) -> str | None:
    account = observed.spec.storage.service_account_name if observed.spec.storage else None
    perhaps = f"a ServiceAccount {account!r} that does not exist (spec.storage.serviceAccountName), " if account else ""
    return no_pod(job, observed.pods, perhaps=perhaps, fields=RESOURCES, now=observed.now)


def _complete(observed: ObservedRun) -> Plan:
    """Return the outcome of a complete Job. If its Pods are gone, the Job runs again and reports the published version."""
    assert observed.job is not None  # noqa: S101 - the caller has checked
    result = next((each for each in results(observed.pods) if each.exit_code == 0 and each.artifact_uri and each.gate), None)
    if result is None and any(map(_should_report, observed.pods)):
        message = "its result cannot be read: the trainer's image is of another release than the controller"
        return _status(observed, **_times(observed.job), state="Failed", message=message)
    if result is None:
        return _status(
            observed,
            steps=(Delete(JOB, observed.job),),
            message="its Pod is gone: the Job runs again to report its result",
            requeue_after=1.0,
        )
    if problem := _foreign_version_error(observed, result):
        return _status(observed, **_times(observed.job), state="Failed", message=problem)
    return _status(observed, **_times(observed.job), **_result(observed, result))


def _foreign_version_error(observed: ObservedRun, result: RunResult) -> str | None:
    """Return an error if the reported version is not this run's: anyone who may create Pods can also write a result."""
    assert observed.spec.storage is not None  # noqa: S101 - complete
    name = observed.run["metadata"]["name"]
    uri = names.version_uri(observed.spec.storage.uri, observed.spec.classifier, name)
    if (result.classifier, result.version, result.artifact_uri) == (observed.spec.classifier, name, uri):
        return None
    said = f"{result.version} of {result.classifier} at {result.artifact_uri}"
    return f"its Pod says that it published {said[:200]!r}: expected {name} of {observed.spec.classifier} at {uri}"


def _should_report(pod: Document) -> bool:
    """Return whether this Pod has succeeded and is the Pod of its Job that reports the version."""
    first = (pod["metadata"].get("labels") or {}).get(INDEX, "0") == "0"
    return bool(first and pod.get("status", {}).get("phase") == "Succeeded")


def _fail(observed: ObservedRun) -> Plan:
    assert observed.job is not None  # noqa: S101 - the caller has checked
    said = next((each.message for each in results(observed.pods) if each.message), None) or last_end(observed.pods)
    failed = condition(observed.job, "Failed")
    if failed.get("reason") == "DeadlineExceeded":
        said = None  # it is the message of an earlier attempt
    message = in_the_users_terms(said or failed.get("message") or str(failed.get("reason", "its Job failed")), observed.spec)
    if said and failed.get("reason") == "BackoffLimitExceeded":
        message = f"{message}; given up after {_attempts(observed.job)} attempts: create a TrainingRun to train again"
    return _status(observed, **_times(observed.job), state="Failed", message=message)


def _attempts(job: Document) -> int:
    return int(job["spec"]["backoffLimit"]) + 1


def _times(job: Document) -> Document:
    started, finished = job.get("status", {}).get("startTime"), ended_at(job)
    seconds = (parse_time(finished) - parse_time(started)).total_seconds() if started and finished else None
    return {"startedAt": started, "finishedAt": finished, "seconds": seconds}


def _result(observed: ObservedRun, result: RunResult) -> Document:
    """Return the fields of the status that are known once a version is published."""
    assert result.gate is not None  # noqa: S101 - the caller has checked
    return {
        "datasetSha256": result.dataset_sha256,
        "testSha256": result.test_sha256,
        "datasetHash": result.dataset_sha256[:12] if result.dataset_sha256 else None,
        "version": result.version,
        "artifactUri": result.artifact_uri,
        "manifestSha256": result.manifest_sha256,
        "bestCheckpoint": result.best_checkpoint,
        "mlflowRunId": result.mlflow_run_id,
        "result": result.model_dump(mode="json", exclude_none=True),
        **judged(observed, result.gate),
    }


def _status(observed: ObservedRun, *, steps: tuple[Step, ...] = (), requeue_after: float | None = None, **facts: object) -> Plan:
    known = {**observed.status, "trouble": None, "observedGeneration": observed.run["metadata"].get("generation"), **facts}
    status = {field: value for field, value in known.items() if value is not None}
    return Plan(steps, status, requeue_after, storage_errors=_storage_errors(observed))


def _storage_errors(observed: ObservedRun) -> int:
    """Return the number of attempts that ended because a storage did not answer; 0 while another attempt runs."""
    if any(pod.get("status", {}).get("phase") == "Running" for pod in observed.pods):
        return 0
    return sum(each.exit_code == STORAGE_UNAVAILABLE for each in results(observed.pods))
