"""A TextClassifier's pass: what is served, what is trained, what is kept, and what is said of it."""

from __future__ import annotations

from datetime import timedelta

from k8s.controller.builders.serving import inference_service, serving_runtime
from k8s.controller.builders.training_job import Images
from k8s.controller.builders.training_run import asked_for, training_run
from k8s.controller.decisions import triggers
from k8s.controller.decisions.conditions import ConditionFacts, conditions, state, summary
from k8s.controller.decisions.dataset import DatasetCheck, check_dataset
from k8s.controller.decisions.gate import comparable, give_gate, judge_again
from k8s.controller.decisions.problems import problems
from k8s.controller.decisions.retention import HistoryDecision, enforce_history
from k8s.controller.decisions.rollout import LATE, RollOut, roll_out
from k8s.controller.decisions.schedules import ScheduleRejected
from k8s.controller.decisions.steps import Apply, Create, Merge, Plan, Step
from k8s.controller.objects import names
from k8s.controller.objects.documents import format_time
from k8s.controller.objects.kinds import TEXT_CLASSIFIER, TRAINING_RUN, Document
from k8s.controller.observed.classifier import ObservedClassifier
from k8s.controller.observed.run import TrainingRunSummary

WAITS = 15.0  # seconds until it is seen again whether the others have the new image
MEASURE = 60.0  # seconds between two questions to Prometheus
LONGEST_MESSAGE = 1000  # characters of status.message
LOOK_AGAIN = 1800.0  # seconds, where nothing is expected: what an event was lost about is found then


def decide(observed: ObservedClassifier, images: Images) -> Plan:
    """What a TextClassifier that is not being deleted needs next."""
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
    return Plan((*serving, *steps, *checked.steps, *kept.steps), status, _requeue_after(observed, rollout, checked, kept))


def _rejected(observed: ObservedClassifier) -> tuple[str, ...]:
    """What the API server cannot find wrong in a spec: nothing is done for such a one, and what is served stays."""
    try:
        triggers.schedule_of(observed)
    except ScheduleRejected as error:
        field = "timeZone" if "time zone" in str(error) else "schedule"
        return (f"spec.triggers.{field}: {error}",)
    return ()


def _finalizers(observed: ObservedClassifier) -> list[str] | None:
    """The list to write, if it is not as it should be: deleting versions with the classifier takes a while."""
    there = list(observed.classifier["metadata"].get("finalizers") or ())
    wanted = observed.spec.storage.deletion_policy == "Delete"
    if wanted == (names.FINALIZER in there):
        return None
    return [*there, names.FINALIZER] if wanted else [each for each in there if each != names.FINALIZER]


def _serve(observed: ObservedClassifier, rollout: RollOut, images: Images) -> tuple[Step, ...]:
    if rollout.uri is None or observed.name_conflict or observed.serving_unavailable:
        return ()
    is_asked_for = (observed.uri, observed.asked_manifest) == (rollout.uri, rollout.manifest_sha256) or observed.keeps_service(
        rollout.uri
    )
    if observed.image_update_pending and is_asked_for and observed.status.get("observedGeneration") == observed.generation:
        return ()  # others get the new image first
    runtime = Apply(serving_runtime(observed.classifier, images))
    if observed.keeps_service(rollout.uri):
        return (runtime,)
    return runtime, Apply(
        inference_service(observed.classifier, observed.spec, images, uri=rollout.uri, manifest_sha256=rollout.manifest_sha256)
    )


def _active(observed: ObservedClassifier) -> TrainingRunSummary | None:
    """The run whose turn it is."""
    noted = observed.status.get("activeRun")
    waiting = [run for run in observed.active if not observed.spec.suspend or run.has_begun]
    return next((run for run in waiting if run.name == noted), waiting[0] if waiting else None)


def _train(observed: ObservedClassifier, rollout: RollOut, images: Images) -> tuple[tuple[Step, ...], TrainingRunSummary | None]:
    """One run at a time. One that trains what is no longer asked for is stopped; the next begins when it is."""
    active, asked = _active(observed), asked_for(observed.classifier)
    if active is not None:
        stale = [run for run in observed.active if not run.asks_for_the_same(asked) and not run.document["spec"].get("cancelled")]
        stop = {"metadata": {"annotations": {names.SUPERSEDED: "true"}}, "spec": {"cancelled": True}}
        judged_by_this = [step for run in observed.active if run not in stale for step in give_gate(observed, run)]
        return (*(Merge(TRAINING_RUN, run.document, stop) for run in stale), *judged_by_this), active
    again = judge_again(observed, asked, rollout.version)
    trigger = None if observed.spec.suspend else triggers.due(observed, images.trainer)
    if trigger is None or (observed.name_conflict and not observed.served):  # what could not be served is not trained
        return again, None
    wanted = {"version": rollout.version, "uri": rollout.uri, "manifestSha256": rollout.manifest_sha256}
    served = comparable(wanted, observed.spec.storage.uri) if rollout.version else None
    if rollout.version and served is None:
        trigger = {**trigger, "message": f"{trigger['message']}; {_not_compared(rollout)}"}
    run = training_run(
        observed.classifier,
        sequence=max((each.sequence for each in observed.runs), default=0) + 1,
        # Where all runs were deleted by hand, another than the first: its name is taken, by what it has published.
        previous=observed.newest.name if observed.newest else str(observed.served.get("version", "")),
        trigger=trigger,
        served=served,
    )
    return (*again, Create(run)), None


def _not_compared(rollout: RollOut) -> str:
    return f"not compared with the served version {rollout.version}, which is in another storage: {rollout.uri}"


def _in_use(observed: ObservedClassifier, rollout: RollOut) -> set[str]:
    """Versions that are served, or may have to be."""
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
        "message": f"{made} begins" if made and word == "Training" else summary(facts, word)[:LONGEST_MESSAGE],
        "version": served.get("version"),
        "score": served.get("score"),
        "url": _url(observed) if served else None,
        "served": rollout.served,
        "activeRun": made or (facts.active.name if facts.active else None),
        "runScore": next((run.status["score"] for run in reversed(observed.runs) if "score" in run.status), None),
        "latestRun": made or (newest.name if newest else None),
        "dataset": checked.note,
        "schedule": triggers.noted_schedule(observed),
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


def _requeue_after(observed: ObservedClassifier, rollout: RollOut, checked: DatasetCheck, kept: HistoryDecision) -> float:
    """When the time alone may have changed what is to be done."""
    delays = [LOOK_AGAIN]
    delays += [each for each in (rollout.requeue_after, checked.requeue_after, kept.requeue_after) if each is not None]
    if observed.image_update_pending:
        delays.append(WAITS)
    if observed.name_conflict:  # of its going nobody tells
        delays.append(LATE)
    if observed.pods:  # of what becomes of them nobody tells
        delays.append(LATE)
    wanted = observed.spec.triggers
    if (wanted.feedback or wanted.drift) and not observed.spec.suspend:
        delays.append(MEASURE)
    try:
        schedule = None if observed.spec.suspend else triggers.schedule_of(observed)
    except ScheduleRejected:
        schedule = None
    if schedule is not None:
        delays.append((schedule.next(observed.now) - observed.now + timedelta(seconds=1)).total_seconds())
    return min(delays)
