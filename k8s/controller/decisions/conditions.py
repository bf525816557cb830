"""Conditions of a classifier, and its state and message for `kubectl get`."""

from __future__ import annotations

from dataclasses import dataclass

from k8s.controller.decisions.rollout import Rollout
from k8s.controller.objects.documents import conditioned
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.classifier import ObservedClassifier, answered_instead, is_unheard
from k8s.controller.observed.run import TrainingRunSummary

YES, NO = True, False
NOT_SERVABLE = {"NotServable", "NameTaken"}  # reasons of problems that prevent an InferenceService


@dataclass(frozen=True)
class ConditionFacts:
    """Input of the conditions. active: the run in progress. problems: reason and message of each, the worst first."""

    observed: ObservedClassifier
    rollout: Rollout
    active: TrainingRunSummary | None
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ConditionValue:
    """One of the six conditions. value: None for Unknown."""

    kind: str
    value: bool | None
    reason: str
    message: str


def conditions(facts: ConditionFacts) -> list[Document]:
    """Return all six conditions. The transition time changes only with the status."""
    made = [each(facts) for each in (_ready, _trained, _gate_passed, _served, _progressing, _degraded)]
    return [_document(each, facts.observed) for each in made]


def _document(found: ConditionValue, observed: ObservedClassifier) -> Document:
    status = {True: "True", False: "False", None: "Unknown"}[found.value]
    return conditioned(observed.classifier, found.kind, status, found.reason, found.message, now=observed.now)


def state(facts: ConditionFacts) -> str:
    """Return the state in one word, the most urgent one that applies."""
    reasons = [reason for reason, _ in facts.problems]
    served = facts.rollout.served is not None
    words = (
        ("Invalid", "SpecRejected" in reasons),
        ("RollingOut", facts.rollout.in_progress is not None),
        ("Stuck", facts.active is not None and bool(facts.active.status.get("trouble"))),
        ("Training", facts.active is not None),
        ("Degraded", bool(reasons) and served),
        ("Held", reasons[:1] == ["DatasetSuspicious"]),
        ("Failed", bool(reasons)),
        ("Suspended", facts.observed.spec.suspend),
        ("Ready", served and facts.observed.is_available),
        ("Unavailable", served),
        ("Rejected", facts.observed.newest is not None and facts.observed.newest.state == "Rejected"),
        ("Cancelled", _cancelled(facts) is not None),
    )
    return next((word for word, holds in words if holds), "Pending")


def summary(facts: ConditionFacts, word: str) -> str:
    """Return the message beside the state in `kubectl get --output wide`."""
    if word in ("Invalid", "Degraded", "Held", "Failed", "Stuck"):
        return _degraded(facts).message
    if word == "Training":
        return _progressing(facts).message
    if word == "RollingOut":
        return _served(facts).message
    ready, last = _ready(facts).message, facts.observed.judged
    if facts.observed.spec.suspend:
        ready = f"{ready}; spec.suspend is true"
    if (
        facts.rollout.served is None
        or last is None
        or last.status.get("passed")
        or last is not facts.observed.latest_effective_run
    ):
        return ready
    return f"{ready}; {last.name} is not served: {last.status.get('message', '')}"


def _cancelled(facts: ConditionFacts) -> str | None:
    """Return a message if the latest run was cancelled and no version was published before it."""
    last, observed = facts.observed.latest_effective_run, facts.observed
    if facts.rollout.served is not None or last is None or not last.was_cancelled or observed.judged is not None:
        return None
    return f"{last.name} was cancelled by spec.cancelled, and no version is served: create a TrainingRun to train again"


def _ready(facts: ConditionFacts) -> ConditionValue:
    served, observed = facts.rollout.served, facts.observed
    if served is None:
        worst = next((f"{reason}: {message}" for reason, message in facts.problems), None)
        last = (
            observed.latest_effective_run.status.get("message")
            if observed.latest_effective_run is not None and observed.latest_effective_run.was_refused
            else None
        )
        message = worst or last or _cancelled(facts) or "no version has been served yet"
        return ConditionValue("Ready", NO, "NothingServed", message)
    if not observed.is_available:
        return ConditionValue("Ready", NO, "NoPodReady", f"no Pod is ready to answer with {served['version']}")
    if facts.rollout.in_progress is not None and is_unheard(observed, facts.rollout.uri):
        either = " or ".join(dict.fromkeys((served["version"], str(facts.rollout.version))))
        message = f"Pods are ready, but none answered the controller's question whether it serves {either}"
        return ConditionValue("Ready", YES, "Answers", message)
    return ConditionValue("Ready", YES, "Answers", f"answers with {served['version']}")


def _trained(facts: ConditionFacts) -> ConditionValue:
    last = next((run for run in reversed(facts.observed.runs) if run.is_over and run.state != "Superseded"), None)
    if last is None and (cancelled := _cancelled(facts)):
        return ConditionValue("Trained", NO, "Cancelled", cancelled)
    if last is None:
        return ConditionValue("Trained", None, "NoRunEnded", "no training has ended yet")
    good = last.state != "Failed"
    message = f"{last.name} was published" if good else f"{last.name}: {last.status.get('message', '')}"
    return ConditionValue("Trained", good, "Published" if good else "TrainingFailed", message)


def _gate_passed(facts: ConditionFacts) -> ConditionValue:
    last = facts.observed.judged
    if last is None:
        return ConditionValue("GatePassed", None, "NothingJudged", "no version has been published yet")
    passed = bool(last.status["passed"]) and not last.was_refused
    reason = {"Held": "Held", "Rejected": "Refused"}.get(last.state, "Passed" if passed else "Refused")
    return ConditionValue("GatePassed", passed, reason, f"{last.name}: {last.status.get('message', '')}")


def _served(facts: ConditionFacts) -> ConditionValue:
    rollout = facts.rollout
    if rollout.version is None:
        return ConditionValue("Served", NO, "NothingToServe", "no version has passed the gate yet")
    hindered = next((each for each in facts.problems if each[0] in NOT_SERVABLE), None)
    if hindered is not None:
        return ConditionValue("Served", NO, *hindered)
    if rollout.in_progress is not None:
        why = rollout.problem or facts.observed.trouble or answered_instead(facts.observed, rollout.version, rollout.uri)
        return ConditionValue("Served", NO, "RollingOut", why or f"{rollout.version} is not served by every Pod yet")
    if rollout.problem:
        return ConditionValue("Served", NO, "RollOutFailed", rollout.problem)
    message = f"every Pod has answered that it serves {rollout.version}"
    if facts.observed.spec.serving.version and rollout.manifest_sha256 is None:
        message += (
            "; its files are not verified: neither a TrainingRun nor spec.serving.manifestSha256 has its manifest's SHA-256"
        )
    return ConditionValue("Served", YES, "EveryPod", message)


def _progressing(facts: ConditionFacts) -> ConditionValue:
    if facts.active is not None:
        run, why = facts.active, facts.active.trigger.get("message", "made by hand")
        message = f"{run.name} ({why}): {run.status.get('message', 'begins')}"
        return ConditionValue("Progressing", YES, "Training", message)
    if facts.rollout.in_progress is not None:
        return ConditionValue("Progressing", YES, "RollingOut", f"{facts.rollout.version} is being rolled out")
    return ConditionValue(
        "Progressing", NO, "Suspended" if facts.observed.spec.suspend else "Idle", "no training and no rollout is in progress"
    )


def _degraded(facts: ConditionFacts) -> ConditionValue:
    if not facts.problems:
        return ConditionValue("Degraded", NO, "AsExpected", _cancelled(facts) or "no problem is known")
    message = "; ".join(message for _, message in facts.problems)
    return ConditionValue("Degraded", YES, facts.problems[0][0], message)
