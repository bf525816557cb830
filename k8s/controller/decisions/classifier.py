"""Reconciliation of a TextClassifier: serving, training, retention and status."""

from __future__ import annotations

from datetime import timedelta

from k8s.controller.builders.serving import inference_service, serving_runtime
from k8s.controller.builders.training_job import Images
from k8s.controller.builders.training_run import asked_for, training_run
from k8s.controller.decisions import triggers
from k8s.controller.decisions.conditions import ConditionFacts, conditions, state, summary
from k8s.controller.decisions.dataset import DatasetCheck, check_dataset
from k8s.controller.decisions.judging import copy_gate, judge_again, served_to_compare
from k8s.controller.decisions.problems import problems
from k8s.controller.decisions.retention import HistoryDecision, enforce_history
from k8s.controller.decisions.rollout import SLOW_POLL_SECONDS, Rollout, roll_out
from k8s.controller.decisions.schedules import ScheduleRejected
from k8s.controller.decisions.steps import Apply, Create, Merge, Plan, Step
from k8s.controller.objects import names
from k8s.controller.objects.documents import format_time
from k8s.controller.objects.kinds import TEXT_CLASSIFIER, TRAINING_RUN, Document
from k8s.controller.observed.classifier import ObservedClassifier
from k8s.controller.observed.run import TrainingRunSummary

IMAGE_UPDATE_POLL_SECONDS = 15.0  # seconds between two checks whether other classifiers have finished their image update
MEASUREMENT_SECONDS = 60.0  # seconds between two queries to Prometheus
MAX_MESSAGE_CHARACTERS = 1000  # characters of status.message
RESYNC_SECONDS = 1800.0  # seconds until a reconciliation without an event, in case an event was lost


def decide(observed: ObservedClassifier, images: Images) -> Plan:
    """Return the next steps and the status of a TextClassifier that is not being deleted."""
    if (finalizers := _finalizers(observed)) is not None:
        return Plan((Merge(TEXT_CLASSIFIER, observed.classifier, {"metadata": {"finalizers": finalizers}}),))
    rejected = _rejected(observed)
    rollout = roll_out(observed)
    checked = DatasetCheck(observed.status.get("dataset")) if rejected else check_dataset(observed, images)
    steps, active = ((), _active(observed)) if rejected else _train(observed, rollout, images)
    kept = enforce_history(observed, images, in_use=_in_use(observed, rollout))
    facts = ConditionFacts(
        observed, rollout, active, problems(observed, rejected, rollout, checked, active=active, pruning=kept.problem)
    )
    status = _status(facts, checked, next((each for each in steps if isinstance(each, Create)), None))
    serving = _serve(observed, rollout, images)
    return Plan(
        (*serving, *steps, *checked.steps, *kept.steps),
        status,
        _requeue_after(observed, rollout, checked, kept),
        gate_failures=observed.gate_failures,
    )


def _rejected(observed: ObservedClassifier) -> tuple[str, ...]:
    """Return errors of the spec that the API server cannot find. With errors, nothing is trained; the served version stays."""
    try:
        triggers.schedule_of(observed)
    except ScheduleRejected as error:
        field = "timeZone" if "time zone" in str(error) else "schedule"
        return (f"spec.triggers.{field}: {error}",)
    return ()


def _finalizers(observed: ObservedClassifier) -> list[str] | None:
    """Return the finalizers to write, None if they are correct: the controller's is needed to delete versions."""
    there = list(observed.classifier["metadata"].get("finalizers") or ())
    is_needed = observed.spec.storage.deletion_policy == "Delete"
    if is_needed == (names.FINALIZER in there):
        return None
    return [*there, names.FINALIZER] if is_needed else [each for each in there if each != names.FINALIZER]


def _serve(observed: ObservedClassifier, rollout: Rollout, images: Images) -> tuple[Step, ...]:
    if rollout.uri is None or observed.name_conflict or observed.serving_unavailable:
        return ()
    is_asked_for = (observed.uri, observed.asked_manifest) == (rollout.uri, rollout.manifest_sha256) or observed.keeps_service(
        rollout.uri
    )
    if observed.image_update_pending and is_asked_for and observed.status.get("observedGeneration") == observed.generation:
        return ()  # other classifiers get the new image first
    runtime = Apply(serving_runtime(observed.classifier, images))
    if observed.keeps_service(rollout.uri):
        return (runtime,)
    return runtime, Apply(
        inference_service(observed.classifier, observed.spec, images, uri=rollout.uri, manifest_sha256=rollout.manifest_sha256)
    )


def _active(observed: ObservedClassifier) -> TrainingRunSummary | None:
    """Return the run that trains or is the next to train."""
    recorded = observed.status.get("activeRun")
    waiting = [run for run in observed.active if not observed.spec.suspend or run.has_begun]
    return next((run for run in waiting if run.name == recorded), waiting[0] if waiting else None)


def _train(observed: ObservedClassifier, rollout: Rollout, images: Images) -> tuple[tuple[Step, ...], TrainingRunSummary | None]:
    """Return the steps of training, and the active run. One run trains at a time; a changed spec stops it first."""
    active, asked = _active(observed), asked_for(observed.classifier)
    if active is not None:
        stale = [run for run in observed.active if not run.asks_for_the_same(asked) and not run.document["spec"].get("cancelled")]
        stop = {"metadata": {"annotations": {names.SUPERSEDED: "true"}}, "spec": {"cancelled": True}}
        judged_by_this = [step for run in observed.active if run not in stale for step in copy_gate(observed, run)]
        return (*(Merge(TRAINING_RUN, run.document, stop) for run in stale), *judged_by_this), active
    again = judge_again(observed, asked, rollout.version)
    trigger = None if observed.spec.suspend else triggers.due(observed, images.trainer)
    if trigger is None or (observed.name_conflict and not observed.served):  # its version could not be served
        return again, None
    target = {"version": rollout.version, "uri": rollout.uri, "manifestSha256": rollout.manifest_sha256}
    served = served_to_compare(target, observed.spec.storage.uri) if rollout.version else None
    if rollout.version and served is None:
        trigger = {**trigger, "message": f"{trigger['message']}; {_not_compared(rollout)}"}
    run = training_run(
        observed.classifier,
        sequence=max((each.sequence for each in observed.runs), default=0) + 1,
        # If all runs were deleted by hand, the name must differ from the first run's, whose version may still exist.
        previous=observed.newest.name if observed.newest else str(observed.served.get("version", "")),
        trigger=trigger,
        served=served,
    )
    return (*again, Create(run)), None


def _not_compared(rollout: Rollout) -> str:
    return f"not compared with the served version {rollout.version}, which is in another storage: {rollout.uri}"


def _in_use(observed: ObservedClassifier, rollout: Rollout) -> set[str]:
    """Return versions that are served or may be served next."""
    coming = (rollout.in_progress or {}).get("version")
    named = {rollout.version, observed.served.get("version"), coming, observed.spec.serving.version}
    newest = [run.name for run in reversed(observed.runs) if run.may_be_served][:1]
    return {each for each in named if each} | set(newest)


def _status(facts: ConditionFacts, checked: DatasetCheck, created: Create | None) -> Document:
    observed, rollout, newest = facts.observed, facts.rollout, facts.observed.newest
    made = created.document["metadata"]["name"] if created and created.document["kind"] == "TrainingRun" else None
    served = rollout.served or {}
    word = state(facts) if made is None or rollout.in_progress else "Training"
    found = {
        "observedGeneration": observed.generation,
        "state": word,
        "message": f"{made} begins" if made and word == "Training" else summary(facts, word)[:MAX_MESSAGE_CHARACTERS],
        "version": served.get("version"),
        "score": served.get("score"),
        "url": _url(observed) if served else None,
        "served": rollout.served,
        "activeRun": made or (facts.active.name if facts.active else None),
        "runScore": next((run.status["score"] for run in reversed(observed.runs) if "score" in run.status), None),
        "latestRun": made or (newest.name if newest else None),
        "dataset": checked.note,
        "schedule": triggers.recorded_schedule(observed),
        "nextSchedule": _next_schedule(observed, facts),
        "rollout": rollout.in_progress,
        "failedRollouts": list(rollout.failed) or None,
        "corrections": observed.measured.corrections,
        "driftIndex": observed.measured.drift,
        "conditions": conditions(facts),
    }
    return {name: value for name, value in found.items() if value is not None}


def _url(observed: ObservedClassifier) -> str:
    return f"http://{names.deployment(observed.name)}.{observed.classifier['metadata']['namespace']}"


def _next_schedule(observed: ObservedClassifier, facts: ConditionFacts) -> str | None:
    rejected = any(reason == "SpecRejected" for reason, _ in facts.problems)
    schedule = None if rejected or observed.spec.suspend else triggers.schedule_of(observed)
    return format_time(schedule.next(observed.now)) if schedule else None


def _requeue_after(observed: ObservedClassifier, rollout: Rollout, checked: DatasetCheck, kept: HistoryDecision) -> float:
    """Return the seconds after which the decision may change without an event."""
    delays = [RESYNC_SECONDS]
    delays += [each for each in (rollout.requeue_after, checked.requeue_after, kept.requeue_after) if each is not None]
    if observed.image_update_pending:
        delays.append(IMAGE_UPDATE_POLL_SECONDS)
    if observed.name_conflict:  # no event comes when the other object is deleted
        delays.append(SLOW_POLL_SECONDS)
    if observed.pods:  # their events are not watched
        delays.append(SLOW_POLL_SECONDS)
    configured = observed.spec.triggers
    if (configured.feedback or configured.drift) and not observed.spec.suspend:
        delays.append(MEASUREMENT_SECONDS)
    try:
        schedule = None if observed.spec.suspend else triggers.schedule_of(observed)
    except ScheduleRejected:
        schedule = None
    if schedule is not None:
        delays.append((schedule.next(observed.now) - observed.now + timedelta(seconds=1)).total_seconds())
    return min(delays)
