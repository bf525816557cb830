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
    """Return the trigger of the next run; None: nothing to train. image: the trainer's current image.

    The trigger's token identifies the event, so that one event starts one run.
    """
    if observed.newest is None:
        new = "the classifier has no TrainingRun left" if observed.served else "the classifier is new"
        return _trigger("NewSpec", _spec_token(observed), new)
    if observed.latest_effective_run is None:
        return _trigger("NewSpec", _spec_token(observed), "the spec asks for another training")
    for trigger_of in TRIGGERS:
        trigger = trigger_of(observed, observed.latest_effective_run)
        if trigger:
            return trigger
    if observed.latest_effective_run.state == "Failed" and observed.latest_effective_run.status.get("image", image) != image:
        message = f"the image of {observed.latest_effective_run.name} could not be pulled, and the trainer has another image now"
        return _trigger("NewSpec", names.digest(image), message)
    return None


def _spec_has_changed(observed: ObservedClassifier, latest: TrainingRunSummary) -> Document | None:
    asked = asked_for(observed.classifier)
    if latest.asks_for_the_same(asked):
        return None
    score = latest.lacks_score(asked)
    why = (
        f"spec.gate.score is {score}, which was not measured for {latest.name}" if score else "the spec asks for another training"
    )
    return _trigger("NewSpec", _spec_token(observed), why)


def _is_scheduled(observed: ObservedClassifier, latest: TrainingRunSummary) -> Document | None:
    schedule = schedule_of(observed)
    if schedule is None:
        return None
    time = schedule.last(after=max(latest.created, schedule_start(observed)), until=observed.now)
    token = format_time(time) if time else ""
    # If the API server's clock is behind, the run's creation time may be before its scheduled time; without this check, that
    # time would start a second run.
    if not token or (latest.trigger.get("reason"), latest.trigger.get("token")) == ("Schedule", token):
        return None
    return _trigger("Schedule", token, f"scheduled for {token}")


def _dataset_has_changed(observed: ObservedClassifier, latest: TrainingRunSummary) -> Document | None:
    current, checked_at = dataset_seen(observed), (observed.status.get("dataset") or {}).get("checkedAt")
    known = latest.data or next((run.data for run in reversed(observed.runs) if run.data), None)
    if not observed.spec.triggers.dataset_change or current is None or current == known:
        return None
    if checked_at and parse_time(checked_at) <= latest.created:
        return None  # the run was created after this check, so it read the dataset later than the check did
    return _trigger("DatasetChange", current, _what_changed(current, known))


def _what_changed(current: str, known: str | None) -> str:
    dataset, _, test_set = current.partition("+")
    if known is not None and known.partition("+")[0] == dataset:
        return f"the test set has changed: its SHA-256 is now {test_set[:12]}…" if test_set else "the test set was removed"
    return f"the dataset has changed: its SHA-256 is now {dataset[:12]}…"


def _has_enough_corrections(observed: ObservedClassifier, latest: TrainingRunSummary) -> Document | None:
    feedback, corrections = observed.spec.triggers.feedback, observed.measured.corrections
    if feedback is None or corrections is None or corrections < feedback.corrections:
        return None
    return _trigger("Feedback", latest.name, f"{corrections} corrections since {latest.name}")


def _has_drifted(observed: ObservedClassifier, latest: TrainingRunSummary) -> Document | None:
    """Return the drift trigger, at most once for each version: if one training did not help, another would not either."""
    drift, index, version = observed.spec.triggers.drift, observed.measured.drift, observed.served.get("version")
    if drift is None or index is None or index < drift.index or not version:
        return None
    if any(run.trigger.get("reason") == "Drift" and run.trigger.get("token") == version for run in observed.runs):
        return None
    if latest.name != version and latest.state == "Published":
        return None  # a newer version is being rolled out
    return _trigger("Drift", version, f"drift index of {version} is {index:.2f}; spec.triggers.drift.index is {drift.index:g}")


TRIGGERS: tuple[Callable[[ObservedClassifier, TrainingRunSummary], Document | None], ...] = (
    _spec_has_changed,
    _is_scheduled,
    _dataset_has_changed,
    _has_enough_corrections,
    _has_drifted,
)


def schedule_of(observed: ObservedClassifier) -> Schedule | None:
    """Return the schedule, if there is one. Raises ScheduleRejected."""
    triggers = observed.spec.triggers
    return parse(triggers.schedule, triggers.time_zone) if triggers.schedule else None


def schedule_start(observed: ObservedClassifier) -> datetime:
    """Return the time from which the schedule applies: a new schedule does not start trainings for earlier times."""
    recorded = recorded_schedule(observed)
    return parse_time(recorded["since"]) if recorded else observed.created


def recorded_schedule(observed: ObservedClassifier) -> dict[str, Any] | None:
    """Return status.schedule: the recorded one if the schedule is unchanged, else a new one.

    A new one starts now, or at the classifier's creation if there is no run yet.
    """
    triggers = observed.spec.triggers
    if not triggers.schedule:
        return None
    expression = f"{triggers.schedule} {triggers.time_zone}"
    recorded = observed.status.get("schedule") or {}
    if recorded.get("expression") == expression:
        return dict(recorded)
    began = observed.created if not observed.runs else observed.now
    return {"expression": expression, "since": format_time(began)}


def dataset_seen(observed: ObservedClassifier) -> str | None:
    """Return the fingerprint of the dataset at its last check."""
    dataset = observed.status.get("dataset") or {}
    return fingerprint({"datasetSha256": dataset.get("sha256"), "testSha256": dataset.get("testSha256")})


def _spec_token(observed: ObservedClassifier) -> str:
    return names.digest(what_is_trained(asked_for(observed.classifier)))


def _trigger(reason: str, token: str, message: str) -> Document:
    return {"reason": reason, "token": token, "message": message}
