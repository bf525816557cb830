"""Triggers: the reasons to start a training. The first one that applies counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from k8s.controller.builders.training_run import asked_for
from k8s.controller.decisions.schedules import Schedule, parse
from k8s.controller.objects import names
from k8s.controller.objects.documents import format_time, parse_time
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.classifier import ObservedClassifier
from k8s.controller.observed.run import TrainingRunSummary, fingerprint, what_is_trained


def due(observed: ObservedClassifier, image: str) -> Document | None:
    """Return the trigger of the next run; None: there is no reason for one. image: the trainer's current image.

    The trigger's token identifies the event, so that one event starts one run.
    """
    if observed.newest is None:
        new = "it has no TrainingRun any more" if observed.served else "the classifier is new"
        return _trigger("NewSpec", _asked(observed), new)
    if observed.latest_effective_run is None:
        return _trigger("NewSpec", _asked(observed), "the spec asks for another training")
    for reason in REASONS:
        trigger = reason(observed, observed.latest_effective_run)
        if trigger:
            return trigger
    if observed.latest_effective_run.state == "Failed" and observed.latest_effective_run.status.get("image", image) != image:
        message = f"the image of {observed.latest_effective_run.name} could not be pulled, and the trainer has another image now"
        return _trigger("NewSpec", names.digest(image), message)
    return None


def _spec_has_changed(observed: ObservedClassifier, newest: TrainingRunSummary) -> Document | None:
    asked = asked_for(observed.classifier)
    if newest.asks_for_the_same(asked):
        return None
    score = newest.lacks_score(asked)
    why = (
        f"spec.gate.score is {score}, which was not measured for {newest.name}" if score else "the spec asks for another training"
    )
    return _trigger("NewSpec", _asked(observed), why)


def _schedule_has_come(observed: ObservedClassifier, newest: TrainingRunSummary) -> Document | None:
    schedule = schedule_of(observed)
    if schedule is None:
        return None
    time = schedule.last(after=max(newest.created, since(observed)), until=observed.now)
    token = format_time(time) if time else ""
    # By the API server's clock, the scheduled run may have been created before its scheduled time.
    if not token or (newest.trigger.get("reason"), newest.trigger.get("token")) == ("Schedule", token):
        return None
    return _trigger("Schedule", token, f"scheduled for {token}")


def _dataset_has_changed(observed: ObservedClassifier, newest: TrainingRunSummary) -> Document | None:
    found, looked = dataset_seen(observed), (observed.status.get("dataset") or {}).get("checkedAt")
    known = newest.data or next((run.data for run in reversed(observed.runs) if run.data), None)
    if not observed.spec.triggers.dataset_change or found is None or found == known:
        return None
    if looked and parse_time(looked) <= newest.created:
        return None  # the run has read the dataset after the check
    return _trigger("DatasetChange", found, f"the dataset's content has changed, its SHA-256 is {found[:12]}…")


def _was_corrected(observed: ObservedClassifier, newest: TrainingRunSummary) -> Document | None:
    feedback, corrections = observed.spec.triggers.feedback, observed.measured.corrections
    if feedback is None or corrections is None or corrections < feedback.corrections:
        return None
    return _trigger("Feedback", newest.name, f"{corrections} corrections since {newest.name}")


def _has_drifted(observed: ObservedClassifier, newest: TrainingRunSummary) -> Document | None:
    """Return the trigger of drift, once for each version: if one training did not help, another would not either."""
    drift, index, version = observed.spec.triggers.drift, observed.measured.drift, observed.served.get("version")
    if drift is None or index is None or index < drift.index or not version:
        return None
    if any(run.trigger.get("reason") == "Drift" and run.trigger.get("token") == version for run in observed.runs):
        return None
    if newest.name != version and newest.state == "Published":
        return None  # a newer version is being rolled out
    return _trigger("Drift", version, f"drift index of {version} is {index:.2f}, spec.triggers.drift.index is {drift.index:g}")


REASONS: tuple[Callable[[ObservedClassifier, TrainingRunSummary], Document | None], ...] = (
    _spec_has_changed,
    _schedule_has_come,
    _dataset_has_changed,
    _was_corrected,
    _has_drifted,
)


def schedule_of(observed: ObservedClassifier) -> Schedule | None:
    """Return the schedule, if there is one. Raises ScheduleRejected."""
    triggers = observed.spec.triggers
    return parse(triggers.schedule, triggers.time_zone) if triggers.schedule else None


def since(observed: ObservedClassifier) -> datetime:
    """Return the time from which the schedule applies: a new schedule does not start trainings for earlier times."""
    noted = noted_schedule(observed)
    return parse_time(noted["since"]) if noted else observed.created


def noted_schedule(observed: ObservedClassifier) -> dict[str, Any] | None:
    """Return status.schedule, which is set when a schedule is first seen."""
    triggers = observed.spec.triggers
    if not triggers.schedule:
        return None
    expression = f"{triggers.schedule} {triggers.time_zone}"
    noted = observed.status.get("schedule") or {}
    if noted.get("expression") == expression:
        return dict(noted)
    began = observed.created if not observed.runs else observed.now
    return {"expression": expression, "since": format_time(began)}


def dataset_seen(observed: ObservedClassifier) -> str | None:
    """Return the fingerprint of the dataset at its last check."""
    found = observed.status.get("dataset") or {}
    return fingerprint({"datasetSha256": found.get("sha256"), "testSha256": found.get("testSha256")})


def _asked(observed: ObservedClassifier) -> str:
    return names.digest(what_is_trained(asked_for(observed.classifier)))


def _trigger(reason: str, token: str, message: str) -> Document:
    return {"reason": reason, "token": token, "message": message}
