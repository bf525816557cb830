"""A TextClassifier's pass: what is served, what is trained, what is kept, and what is said of it."""

from __future__ import annotations

from datetime import timedelta

from k8s.controller.builders.serving import inference_service, serving_runtime
from k8s.controller.builders.training_job import Images
from k8s.controller.builders.training_run import asked_for, comparable, training_run
from k8s.controller.decisions import triggers
from k8s.controller.decisions.conditions import Facts, conditions, state, summary
from k8s.controller.decisions.dataset import Checked, check
from k8s.controller.decisions.history import Kept, keep
from k8s.controller.decisions.problems import problems
from k8s.controller.decisions.rollout import LATE, RollOut, known_digest, roll_out
from k8s.controller.decisions.schedules import ScheduleRejected
from k8s.controller.decisions.steps import Apply, Create, Merge, Plan, Step
from k8s.controller.objects import names
from k8s.controller.objects.documents import format_time
from k8s.controller.objects.kinds import TEXT_CLASSIFIER, TRAINING_RUN, Document
from k8s.controller.observed.classifier import Run, Seen

WAITS = 15.0  # seconds until it is seen again whether the others have the new image
MEASURE = 60.0  # seconds between two questions to Prometheus
LONGEST_MESSAGE = 1000  # characters of status.message
LOOK_AGAIN = 1800.0  # seconds, where nothing is expected: what an event was lost about is found then


def decide(seen: Seen, images: Images) -> Plan:
    """What a TextClassifier that is not being deleted needs next."""
    if (finalizers := _finalizers(seen)) is not None:
        return Plan((Merge(TEXT_CLASSIFIER, seen.classifier, {"metadata": {"finalizers": finalizers}}),))
    rejected = _rejected(seen)
    canary = seen.spec.serving.rollout.strategy == "canary"
    rollout = _as_it_is(seen) if canary and not seen.status.get("rollout") else roll_out(seen)
    checked = Checked(seen.status.get("dataset")) if rejected else check(seen, images)
    steps, active = ((), _active(seen)) if rejected else _train(seen, rollout, images)
    kept = keep(seen, images, in_use=_in_use(seen, rollout))
    facts = Facts(seen, rollout, active, problems(seen, rejected, rollout, checked, active=active, pruning=kept.problem))
    status = _status(facts, checked, next((each for each in steps if isinstance(each, Create)), None))
    serving = _serve(seen, rollout, images)
    return Plan((*serving, *steps, *checked.steps, *kept.steps), status, _again(seen, rollout, checked, kept))


def _rejected(seen: Seen) -> tuple[str, ...]:
    """What the API server cannot find wrong in a spec: nothing is done for such a one, and what is served stays."""
    found = []
    try:
        triggers.schedule_of(seen)
    except ScheduleRejected as error:
        field = "timeZone" if "time zone" in str(error) else "schedule"
        found.append(f"spec.triggers.{field}: {error}")
    if seen.spec.serving.rollout.strategy == "canary":
        found.append(
            "spec.serving.rollout.strategy is 'canary': it takes spec.canary of KServe 0.21 and a Gateway API, not used "
            "here; expected 'rolling'"
        )
    return tuple(found)


def _as_it_is(seen: Seen) -> RollOut:
    served = seen.served or None
    failed = tuple(seen.status.get("failedRollouts") or ())
    if served is None:
        return RollOut(failed=failed)
    vouched = known_digest(seen, served["version"], served["uri"])
    return RollOut(served["version"], served["uri"], served, failed=failed, manifest_sha256=vouched)


def _finalizers(seen: Seen) -> list[str] | None:
    """The list to write, if it is not as it should be: deleting versions with the classifier takes a while."""
    there = list(seen.classifier["metadata"].get("finalizers") or ())
    wanted = seen.spec.storage.deletion_policy == "Delete"
    if wanted == (names.FINALIZER in there):
        return None
    return [*there, names.FINALIZER] if wanted else [each for each in there if each != names.FINALIZER]


def _serve(seen: Seen, rollout: RollOut, images: Images) -> tuple[Step, ...]:
    if rollout.uri is None or seen.taken or seen.unserved:
        return ()
    is_asked_for = (seen.uri, seen.asked_manifest) == (rollout.uri, rollout.manifest_sha256) or seen.keeps_service(rollout.uri)
    if seen.waits and is_asked_for and seen.status.get("observedGeneration") == seen.generation:
        return ()  # others get the new image first
    runtime = Apply(serving_runtime(seen.classifier, images))
    if seen.keeps_service(rollout.uri):
        return (runtime,)
    return runtime, Apply(
        inference_service(seen.classifier, seen.spec, images, uri=rollout.uri, manifest_sha256=rollout.manifest_sha256)
    )


def _active(seen: Seen) -> Run | None:
    """The run whose turn it is."""
    noted = seen.status.get("activeRun")
    waiting = [run for run in seen.active if not seen.spec.suspend or run.has_begun]
    return next((run for run in waiting if run.name == noted), waiting[0] if waiting else None)


def _train(seen: Seen, rollout: RollOut, images: Images) -> tuple[tuple[Step, ...], Run | None]:
    """One run at a time. One that trains what is no longer asked for is stopped; the next begins when it is."""
    active, asked = _active(seen), asked_for(seen.classifier)
    if active is not None:
        stale = [run for run in seen.active if not run.asks_for_the_same(asked) and not run.document["spec"].get("cancelled")]
        stop = {"metadata": {"annotations": {names.SUPERSEDED: "true"}}, "spec": {"cancelled": True}}
        judged_by_this = [step for run in seen.active if run not in stale for step in _judge_by_this(seen, run)]
        return (*(Merge(TRAINING_RUN, run.document, stop) for run in stale), *judged_by_this), active
    judged_anew = tuple(step for run in _to_be_judged_again(seen, asked) for step in _judge_by_this(seen, run))
    trigger = None if seen.spec.suspend else triggers.due(seen, images.trainer)
    if trigger is None or (seen.taken and not seen.served):  # what could not be served is not trained
        return judged_anew, None
    going = (
        {"version": rollout.version, "uri": rollout.uri, "manifestSha256": rollout.manifest_sha256} if rollout.version else None
    )
    served = comparable(going, seen.spec.storage.uri)
    if going and served is None:
        trigger = {**trigger, "message": f"{trigger['message']}; {_not_compared(going)}"}
    run = training_run(
        seen.classifier,
        sequence=max((each.sequence for each in seen.runs), default=0) + 1,
        # Where all runs were deleted by hand, another than the first: its name is taken, by what it has published.
        previous=seen.newest.name if seen.newest else str(seen.served.get("version", "")),
        trigger=trigger,
        served=served,
    )
    return (*judged_anew, Create(run)), None


def _to_be_judged_again(seen: Seen, asked: Document) -> list[Run]:
    """Refused runs that the gate of now may let pass: the newest, if the spec still asks for it, and one that is approved."""
    refused = [seen.newest] if seen.newest is not None and seen.newest.asks_for_the_same(asked) else []
    approved = seen.run_of(seen.spec.gate.approve) if seen.spec.gate.approve else None
    if approved is not None and approved not in refused:
        refused.append(approved)
    return [run for run in refused if run.was_refused]


def _not_compared(going: Document) -> str:
    return f"it is not compared with {going['version']}, which is served: that lies in another storage, {going['uri']}"


def _judge_by_this(seen: Seen, run: Run) -> tuple[Step, ...]:
    """The run follows a change of the gate: one that goes on, and one that was refused, so that it may pass untrained."""
    gate = seen.classifier["spec"].get("gate")
    if gate is None or run.document["spec"].get("gate") == gate or run.document["spec"].get("cancelled"):
        return ()
    if run.score_compared != gate.get("score", run.score_compared):
        return ()  # it was not measured: that needs another training
    return (Merge(TRAINING_RUN, run.document, {"spec": {"gate": {**_cleared(run), **gate}}}),)


def _cleared(run: Run) -> dict[str, None]:
    """In a merge, null takes a field away."""
    return dict.fromkeys(run.document["spec"].get("gate") or {})


def _in_use(seen: Seen, rollout: RollOut) -> set[str]:
    """Versions that are served, or may have to be."""
    going = rollout.going or {}
    named = {rollout.version, seen.served.get("version"), going.get("version"), seen.spec.serving.version}
    newest = [run.name for run in reversed(seen.runs) if run.may_be_served][:1]
    return {each for each in named if each} | set(newest)


def _status(facts: Facts, checked: Checked, created: Create | None) -> Document:
    seen, rollout, newest = facts.seen, facts.rollout, facts.seen.newest
    made = created.document["metadata"]["name"] if created and created.document["kind"] == "TrainingRun" else None
    served = rollout.served or {}
    word = state(facts) if made is None or rollout.going else "Training"
    found = {
        "observedGeneration": seen.generation,
        "state": word,
        "message": f"{made} begins" if made and word == "Training" else summary(facts, word)[:LONGEST_MESSAGE],
        "version": served.get("version"),
        "score": served.get("score"),
        "url": _url(seen) if served else None,
        "served": rollout.served,
        "activeRun": made or (facts.active.name if facts.active else None),
        "runScore": next((run.status["score"] for run in reversed(seen.runs) if "score" in run.status), None),
        "latestRun": made or (newest.name if newest else None),
        "dataset": checked.note,
        "schedule": triggers.noted_schedule(seen),
        "nextSchedule": _next_schedule(seen, facts),
        "rollout": rollout.going,
        "failedRollouts": list(rollout.failed) or None,
        "corrections": seen.measured.corrections,
        "driftIndex": seen.measured.drift,
        "conditions": conditions(facts),
    }
    return {name: value for name, value in found.items() if value is not None}


def _url(seen: Seen) -> str:
    return f"http://{names.deployment(seen.name)}.{seen.classifier['metadata']['namespace']}"


def _next_schedule(seen: Seen, facts: Facts) -> str | None:
    rejected = any(reason == "SpecRejected" for reason, _ in facts.problems)
    schedule = None if rejected or seen.spec.suspend else triggers.schedule_of(seen)
    return format_time(schedule.next(seen.now)) if schedule else None


def _again(seen: Seen, rollout: RollOut, checked: Checked, kept: Kept) -> float:
    """When the time alone may have changed what is to be done."""
    waits = [LOOK_AGAIN]
    waits += [each for each in (rollout.again, checked.again, kept.again) if each is not None]
    if seen.waits:
        waits.append(WAITS)
    if seen.taken:  # of its going nobody tells
        waits.append(LATE)
    if seen.pods:  # of what becomes of them nobody tells
        waits.append(LATE)
    wanted = seen.spec.triggers
    if (wanted.feedback or wanted.drift) and not seen.spec.suspend:
        waits.append(MEASURE)
    try:
        schedule = None if seen.spec.suspend else triggers.schedule_of(seen)
    except ScheduleRejected:
        schedule = None
    if schedule is not None:
        waits.append((schedule.next(seen.now) - seen.now + timedelta(seconds=1)).total_seconds())
    return min(waits)
