"""Rollout: the version to serve, its progress, and the return to the previous version.

Example status: one rollout is in progress, an earlier one failed:

    status:
      state: RollingOut
      version: arxiv-3-5f2b8c
      served:
        version: arxiv-3-5f2b8c
        uri: s3://models/arxiv/arxiv-3-5f2b8c/
        manifestSha256: 0f6d…
        score: 0.5822
        since: "2026-03-02T08:15:00Z"
      rollout:
        version: arxiv-5-91c0d4
        manifestSha256: 77ab…
        startedAt: "2026-03-09T08:40:00Z"
      failedRollouts:
      - version: arxiv-4-c0ffee
        generation: 2
        time: "2026-03-05T11:20:00Z"
        message: "not ready within spec.serving.rollout.deadline 10m: its Pods did not become ready"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from k8s.controller.api.v1alpha1 import parse_duration
from k8s.controller.objects import names
from k8s.controller.objects.documents import format_time, parse_time
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.classifier import (
    ObservedClassifier,
    answered_instead,
    answers_about,
    is_unheard,
    served_manifest,
    served_uri,
    why_not,
)

ANSWER_POLL_SECONDS = 2.0  # once all Pods are ready: no event announces that they answer with the version
SLOW_POLL_SECONDS = 30.0  # until all Pods are ready, and after the deadline
KEPT_FAILED_ROLLOUTS = 10  # the latest; in addition to those that prevent a retry
MAX_FAILED_ROLLOUTS = 100  # in a status


@dataclass(frozen=True)
class Rollout:
    """Version to serve, and the state of its rollout.

    uri: address for the InferenceService; None: no version yet. served: the version that the Pods are known to serve.
    in_progress: status.rollout, during a rollout. failed: rollouts that were given up. problem: why the preferred version is
    not served. requeue_after: seconds. manifest_sha256: digest of the version's manifest; None: unknown.
    """

    version: str | None = None
    uri: str | None = None
    served: Document | None = None
    in_progress: Document | None = None
    failed: tuple[Document, ...] = ()
    problem: str | None = None
    requeue_after: float | None = None
    manifest_sha256: str | None = None


@dataclass(frozen=True)
class Version:
    """Version that may be served, with the score that the gate compared, if known."""

    name: str
    uri: str
    score: float | None = None
    manifest_sha256: str | None = None


def roll_out(observed: ObservedClassifier) -> Rollout:
    """Return the version to serve now. A version that is not ready within the deadline is given up for the previous one."""
    failed = tuple(observed.status.get("failedRollouts") or ())
    target = _target(observed, failed)
    if target is None:
        return Rollout(failed=failed)
    state = _roll_out_to(observed, target, failed)
    if observed.serving_unavailable or observed.name_conflict:  # no InferenceService can be applied: no deadline
        return replace(state, in_progress=None, requeue_after=SLOW_POLL_SECONDS)
    if state.in_progress is None or _age(observed, state.in_progress["startedAt"]) <= _deadline(observed):
        return state
    return _after_deadline(observed, target, state)


def _after_deadline(observed: ObservedClassifier, target: Version, state: Rollout) -> Rollout:
    """Return a rollback to the previous version. Keep waiting if the delay is not this version's fault, no other version can be
    served, or the rollback would drop the digest.
    """
    message, in_progress = _timeout_message(observed, target), state.in_progress or {}
    late = replace(state, problem=f"{_digest_field(observed, target) or target.name}: {message}", requeue_after=SLOW_POLL_SECONDS)
    if observed.fits_nowhere or is_unheard(observed, target.uri):
        return replace(late, in_progress={**in_progress, "deadlinePausedAt": _deadline_paused_at(observed, in_progress)})
    if "deadlinePausedAt" in in_progress and _age(observed, in_progress["deadlinePausedAt"]) <= _deadline(observed):
        return late  # the deadline starts over after a pause
    failure = {"version": target.name, "generation": observed.generation, "time": format_time(observed.now), "message": message}
    failure |= {"manifestSha256": target.manifest_sha256} if target.manifest_sha256 else {}
    failed = _notes_to_keep(observed, (*_without(target, state.failed), failure))
    previous = _target(observed, failed)
    if previous is None or _is_about(failure, previous):  # nothing else to serve: it may still become ready
        return late
    if target.manifest_sha256 and previous.manifest_sha256 is None and previous.name == target.name:
        return late  # without the digest, altered files could be served
    return _roll_out_to(observed, previous, failed)


def _timeout_message(observed: ObservedClassifier, target: Version) -> str:
    within = f"within spec.serving.rollout.deadline {observed.spec.serving.rollout.deadline}"
    if instead := answered_instead(observed, target.name, target.uri):
        return f"not confirmed {within}: {instead}"
    return f"not ready {within}: {why_not(observed) or 'its Pods did not become ready'}"


def _without(version: Version, failed: tuple[Document, ...]) -> tuple[Document, ...]:
    return tuple(each for each in failed if not _is_about(each, version))


def _is_about(note: Document, version: Version) -> bool:
    """Return whether a note of the status is about this version and digest. A note without a digest matches every digest."""
    return note.get("version") == version.name and note.get("manifestSha256", version.manifest_sha256) == version.manifest_sha256


def _notes_to_keep(observed: ObservedClassifier, failed: tuple[Document, ...]) -> tuple[Document, ...]:
    """Return the notes to keep: the latest, and those that stop a version from being tried again for this generation."""
    choices = list(_choices(observed))
    needed = [each["generation"] == observed.generation and any(_is_about(each, choice) for choice in choices) for each in failed]
    old = len(failed) - KEPT_FAILED_ROLLOUTS
    return tuple(each for number, each in enumerate(failed) if number >= old or needed[number])[-MAX_FAILED_ROLLOUTS:]


def _roll_out_to(observed: ObservedClassifier, target: Version, failed: tuple[Document, ...]) -> Rollout:
    return replace(_plan_rollout(observed, target, failed), manifest_sha256=target.manifest_sha256)


def _plan_rollout(observed: ObservedClassifier, target: Version, failed: tuple[Document, ...]) -> Rollout:
    if _is_confirmed(observed, target):
        failed = _without(target, failed)  # it became ready after all
        return Rollout(target.name, target.uri, _served(observed, target), None, failed, _given_up_message(observed, failed))
    problem, served = _given_up_message(observed, failed), _served_with_current_score(observed) or None
    is_settled = observed.uri in (target.uri, None) and served_uri(observed.deployment) in (target.uri, None)
    if served and served["uri"] == target.uri and is_settled and not observed.status.get("rollout"):
        if target.manifest_sha256 and served_manifest(observed.deployment) == target.manifest_sha256:
            served = {**served, "manifestSha256": target.manifest_sha256}
        if served.get("manifestSha256") == target.manifest_sha256 or observed.keeps_service(target.uri):
            return Rollout(target.name, target.uri, served, None, failed, problem)  # a Pod that restarts is not a new rollout
    in_progress = _in_progress(observed, target)
    return Rollout(
        target.name, target.uri, served, in_progress, failed, problem, requeue_after=_requeue_after(observed, target, in_progress)
    )


def _in_progress(observed: ObservedClassifier, target: Version) -> Document:
    """Return status.rollout.

    startedAt is set to the present time if the version, the digest or the spec has changed. It is renewed while the
    InferenceService does not name the version.
    """
    recorded = _recorded_rollout(observed)
    from_now = {"version": target.name, "startedAt": format_time(observed.now)}
    if target.manifest_sha256:
        from_now["manifestSha256"] = target.manifest_sha256
    if not _is_about(recorded, target) or observed.status.get("observedGeneration") != observed.generation:
        return from_now
    if not _is_asked_for(observed, target) and _must_renew(observed, recorded["startedAt"]):
        return from_now
    return recorded


def _recorded_rollout(observed: ObservedClassifier) -> Document:
    """Return status.rollout, in which an earlier controller may have written `excusedAt` for `deadlinePausedAt`."""
    recorded = dict(observed.status.get("rollout") or {})
    if former := recorded.pop("excusedAt", None):
        recorded.setdefault("deadlinePausedAt", former)
    return recorded


def _is_asked_for(observed: ObservedClassifier, target: Version) -> bool:
    """Return whether the InferenceService names this version, with this digest."""
    same_digest = observed.asked_manifest == target.manifest_sha256 or observed.keeps_service(target.uri)
    return observed.uri == target.uri and same_digest


def _deadline_paused_at(observed: ObservedClassifier, in_progress: Document) -> str:
    """Return the time at which the deadline was last paused, to a tenth of the deadline."""
    recorded: str | None = in_progress.get("deadlinePausedAt")
    return format_time(observed.now) if recorded is None or _must_renew(observed, recorded) else recorded


def _must_renew(observed: ObservedClassifier, time: str) -> bool:
    """Return whether to renew this time in the status.

    It is renewed every tenth of the deadline, because each write triggers a reconciliation.
    """
    return _age(observed, time) > _deadline(observed) / 10


def _target(observed: ObservedClassifier, failed: tuple[Document, ...]) -> Version | None:
    """Return the first choice that was not given up since the spec changed, or the first of all if every one was given up."""
    given_up = [each for each in failed if each["generation"] == observed.generation]
    choices = list(_choices(observed))
    remaining = (each for each in choices if not any(_is_about(note, each) for note in given_up))
    return next(remaining, choices[0] if choices else None)


def _choices(observed: ObservedClassifier) -> Iterator[Version]:
    """Yield versions by preference. The served version, which is known to work, comes before other versions that passed."""
    pinned = observed.spec.serving.version
    passed = [
        _with_known_digest(observed, run.name, run.status["artifactUri"], run.status.get("score"))
        for run in reversed(observed.runs)
        if run.may_be_served
    ]
    if pinned:
        yield _pinned(observed, pinned)
    elif passed and not (observed.spec.suspend and observed.served) and not _is_older_than_served(observed, passed[0].name):
        yield passed[0]
    if observed.served:
        served = _with_known_digest(observed, observed.served["version"], observed.served["uri"], observed.served.get("score"))
        yield replace(served, manifest_sha256=observed.served.get("manifestSha256") or served.manifest_sha256)
    yield from passed


def _is_older_than_served(observed: ObservedClassifier, version: str) -> bool:
    """Return whether a version is older than the served one, whose run was deleted by hand.

    A version that is served because it was pinned may have no run either, and makes way for the newest one once it is unpinned.
    """
    run = observed.run_of(version)
    if not observed.served or run is None or observed.run_of(observed.served["version"]) is not None:
        return False
    if observed.served.get("pinned"):
        return False
    return run.created <= parse_time(observed.served["since"])


def _pinned(observed: ObservedClassifier, version: str) -> Version:
    run = observed.run_of(version)
    uri = names.version_uri(observed.spec.storage.uri, observed.name, version)
    if run is not None:
        uri = run.status.get("artifactUri", uri)
    pinned = _with_known_digest(observed, version, uri, run.status.get("score") if run is not None else None)
    return replace(pinned, manifest_sha256=observed.spec.serving.manifest_sha256 or pinned.manifest_sha256)


def _with_known_digest(observed: ObservedClassifier, name: str, uri: str, score: float | None) -> Version:
    return Version(name, uri, score, _known_digest(observed, name, uri))


def _known_digest(observed: ObservedClassifier, version: str, uri: str) -> str | None:
    """Return the digest of the version at this address, from its run or from status.served; None: unknown."""
    run = observed.run_of(version)
    if run is not None and run.status.get("artifactUri") == uri and run.status.get("manifestSha256"):
        return str(run.status["manifestSha256"])
    if _is_served(observed, version, uri):
        digest: str | None = observed.served.get("manifestSha256")
        return digest
    return None


def _given_up_message(observed: ObservedClassifier, failed: tuple[Document, ...]) -> str | None:
    """Return a message that the preferred version was given up; None if it was not."""
    first = next(_choices(observed), None)
    if first is None:
        return None
    now = [each for each in failed if _is_about(each, first) and each["generation"] == observed.generation]
    field = "spec.serving.version " if observed.spec.serving.version else ""
    return f"{_digest_field(observed, first) or field + first.name} was given up: {now[-1]['message']}" if now else None


def _digest_field(observed: ObservedClassifier, version: Version) -> str | None:
    """Return spec.serving.manifestSha256 and its value, for messages, if it sets the digest of the served version."""
    digest = observed.spec.serving.manifest_sha256
    if digest is None or digest != version.manifest_sha256 or not _is_served(observed, version.name, version.uri):
        return None
    return f"spec.serving.manifestSha256 {digest} of {version.name}"


def _is_served(observed: ObservedClassifier, version: str, uri: str) -> bool:
    return (observed.served.get("version"), observed.served.get("uri")) == (version, uri)


def _is_confirmed(observed: ObservedClassifier, target: Version) -> bool:
    """Return whether every Pod reports the version.

    For another digest of the served version, the Pods must also have verified it, because old Pods report the same version.
    """
    if _is_served(observed, target.name, target.uri) and not _has_verified_digest(observed, target):
        return False
    return set(answers_about(observed, target.uri)) == {target.name}


def _has_verified_digest(observed: ObservedClassifier, target: Version) -> bool:
    """Return whether all Pods have verified the target's digest, if they must check one."""
    is_checked = target.manifest_sha256 is not None and not observed.keeps_service(target.uri)
    return not is_checked or served_manifest(observed.deployment) == target.manifest_sha256


def _served(observed: ObservedClassifier, target: Version) -> Document:
    verified = target.manifest_sha256 if served_manifest(observed.deployment) == target.manifest_sha256 else None
    digest_field = {"manifestSha256": verified} if verified else {}
    if _is_served(observed, target.name, target.uri):
        return {**_served_with_current_score(observed), **digest_field}
    served: Document = {"version": target.name, "uri": target.uri, "since": format_time(observed.now), **digest_field}
    if observed.spec.serving.version == target.name:
        served["pinned"] = True
    return served if target.score is None else {**served, "score": target.score}


def _served_with_current_score(observed: ObservedClassifier) -> Document:
    """Return status.served, with the score from the latest judgement of its run."""
    run = observed.run_of(observed.served.get("version", ""))
    if run is None or "score" not in run.status or not _is_served(observed, run.name, run.status.get("artifactUri", "")):
        return observed.served
    return {**observed.served, "score": run.status["score"]}


def _requeue_after(observed: ObservedClassifier, target: Version, in_progress: Document) -> float:
    """Return the seconds until the next poll: no event announces a Pod's new answer or a passed deadline."""
    if observed.uri == target.uri == served_uri(observed.deployment):
        return ANSWER_POLL_SECONDS
    return min(max(_deadline(observed) - _age(observed, in_progress["startedAt"]), 0.0) + 1.0, SLOW_POLL_SECONDS)


def _deadline(observed: ObservedClassifier) -> float:
    return parse_duration(observed.spec.serving.rollout.deadline)


def _age(observed: ObservedClassifier, time: str) -> float:
    return (observed.now - parse_time(time)).total_seconds()


def must_ask(observed: ObservedClassifier) -> bool:
    """Return whether to ask the Pods which version they serve: all have the same one, and its rollout is not confirmed yet."""
    uri = served_uri(observed.deployment)
    return uri is not None and (uri != observed.served.get("uri") or bool(observed.status.get("rollout")))
