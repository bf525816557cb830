"""Roll-out: the version to serve, its progress, and the return to the previous version.

A roll-out in progress, after one that was given up, in the status of a TextClassifier:

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

ANSWER_POLL_SECONDS = 2.0  # seconds, once all Pods are ready: no event comes when they answer with the version
SLOW_POLL_SECONDS = 30.0  # seconds, before that, and after the deadline
KEPT_FAILED_ROLLOUTS = 10  # failed roll-outs, besides those that must not be tried again
MAX_FAILED_ROLLOUTS = 100  # failed roll-outs in a status


@dataclass(frozen=True)
class RollOut:
    """Version to serve, and the state of its roll-out.

    uri: address for the InferenceService; None: no version yet. served: the version that the Pods are known to serve.
    in_progress: status.rollout, during a roll-out. failed: roll-outs that were given up. problem: why the wanted version is not
    served. requeue_after: seconds. manifest_sha256: digest of the version's manifest; None: it is not known.
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
    """Version that may be served, with the score of its gate, if known."""

    name: str
    uri: str
    score: float | None = None
    manifest_sha256: str | None = None


def roll_out(observed: ObservedClassifier) -> RollOut:
    """Return the version to serve now. A version that is not ready within the deadline is given up for the previous one."""
    failed = tuple(observed.status.get("failedRollouts") or ())
    wanted = _wanted(observed, failed)
    if wanted is None:
        return RollOut(failed=failed)
    state = _towards(observed, wanted, failed)
    if observed.serving_unavailable or observed.name_conflict:  # nothing can be asked for: its time begins when something can
        return replace(state, in_progress=None, requeue_after=SLOW_POLL_SECONDS)
    if state.in_progress is None or _age(observed, state.in_progress["startedAt"]) <= _deadline(observed):
        return state
    return _late(observed, wanted, state)


def _late(observed: ObservedClassifier, wanted: Version, state: RollOut) -> RollOut:
    """Deadline passed: roll back, unless the delay is not this version's fault or there is nothing to roll back to."""
    message, in_progress = _why_late(observed, wanted), state.in_progress or {}
    late = replace(state, problem=f"{_called(observed, wanted) or wanted.name}: {message}", requeue_after=SLOW_POLL_SECONDS)
    if observed.fits_nowhere or is_unheard(observed, wanted.uri):
        return replace(late, in_progress={**in_progress, "deadlinePausedAt": _deadline_paused_at(observed, in_progress)})
    if "deadlinePausedAt" in in_progress and _age(observed, in_progress["deadlinePausedAt"]) <= _deadline(observed):
        return late  # the deadline starts over after a pause
    given_up = {"version": wanted.name, "generation": observed.generation, "time": format_time(observed.now), "message": message}
    given_up |= {"manifestSha256": wanted.manifest_sha256} if wanted.manifest_sha256 else {}
    failed = _remembered(observed, (*_without(wanted, state.failed), given_up))
    back = _wanted(observed, failed)
    if back is None or _is_about(given_up, back):  # nothing else to serve: it may still become ready
        return late
    if wanted.manifest_sha256 and back.manifest_sha256 is None and back.name == wanted.name:
        return late  # never drop the digest: altered files would be served
    return _towards(observed, back, failed)


def _why_late(observed: ObservedClassifier, wanted: Version) -> str:
    within = f"within spec.serving.rollout.deadline {observed.spec.serving.rollout.deadline}"
    if instead := answered_instead(observed, wanted.name, wanted.uri):
        return f"not confirmed {within}: {instead}"
    return f"not ready {within}: {why_not(observed) or 'its Pods did not become ready'}"


def _without(version: Version, failed: tuple[Document, ...]) -> tuple[Document, ...]:
    return tuple(each for each in failed if not _is_about(each, version))


def _is_about(note: Document, version: Version) -> bool:
    """Return whether a note of the status is about this version and digest. A note without a digest is about any."""
    return note.get("version") == version.name and note.get("manifestSha256", version.manifest_sha256) == version.manifest_sha256


def _remembered(observed: ObservedClassifier, failed: tuple[Document, ...]) -> tuple[Document, ...]:
    """Keep the latest notes, and all of this generation about eligible versions, so that none is tried twice before others."""
    choices = list(_choices(observed))
    needed = [each["generation"] == observed.generation and any(_is_about(each, choice) for choice in choices) for each in failed]
    old = len(failed) - KEPT_FAILED_ROLLOUTS
    return tuple(each for number, each in enumerate(failed) if number >= old or needed[number])[-MAX_FAILED_ROLLOUTS:]


def _towards(observed: ObservedClassifier, wanted: Version, failed: tuple[Document, ...]) -> RollOut:
    return replace(_step_towards(observed, wanted, failed), manifest_sha256=wanted.manifest_sha256)


def _step_towards(observed: ObservedClassifier, wanted: Version, failed: tuple[Document, ...]) -> RollOut:
    if _answers(observed, wanted):
        failed = _without(wanted, failed)  # it became ready after all
        return RollOut(wanted.name, wanted.uri, _served(observed, wanted), None, failed, _given_up(observed, failed))
    problem, served = _given_up(observed, failed), _judged_now(observed) or None
    is_settled = observed.uri in (wanted.uri, None) and served_uri(observed.deployment) in (wanted.uri, None)
    if served and served["uri"] == wanted.uri and is_settled and not observed.status.get("rollout"):
        if wanted.manifest_sha256 and served_manifest(observed.deployment) == wanted.manifest_sha256:
            served = {**served, "manifestSha256": wanted.manifest_sha256}
        if served.get("manifestSha256") == wanted.manifest_sha256 or observed.keeps_service(wanted.uri):
            return RollOut(wanted.name, wanted.uri, served, None, failed, problem)  # Pods come and go
    in_progress = _in_progress(observed, wanted)
    return RollOut(
        wanted.name, wanted.uri, served, in_progress, failed, problem, requeue_after=_requeue_after(observed, wanted, in_progress)
    )


def _in_progress(observed: ObservedClassifier, wanted: Version) -> Document:
    """Return status.rollout. The time starts now for a changed spec, and while the API server refuses the InferenceService."""
    noted = _noted(observed)
    from_now = {"version": wanted.name, "startedAt": format_time(observed.now)}
    if wanted.manifest_sha256:
        from_now["manifestSha256"] = wanted.manifest_sha256
    if not _is_about(noted, wanted) or observed.status.get("observedGeneration") != observed.generation:
        return from_now
    if not _is_asked_for(observed, wanted) and _is_old(observed, noted["startedAt"]):
        return from_now
    return noted


def _noted(observed: ObservedClassifier) -> Document:
    """Return status.rollout, in which an earlier controller may have written `excusedAt` for `deadlinePausedAt`."""
    noted = dict(observed.status.get("rollout") or {})
    if former := noted.pop("excusedAt", None):
        noted.setdefault("deadlinePausedAt", former)
    return noted


def _is_asked_for(observed: ObservedClassifier, wanted: Version) -> bool:
    """Return whether the InferenceService names this version, with this digest."""
    same = observed.asked_manifest == wanted.manifest_sha256 or observed.keeps_service(wanted.uri)
    return observed.uri == wanted.uri and same


def _deadline_paused_at(observed: ObservedClassifier, in_progress: Document) -> str:
    """Return when there was last a reason to wait that is not this version's fault."""
    noted: str | None = in_progress.get("deadlinePausedAt")
    return format_time(observed.now) if noted is None or _is_old(observed, noted) else noted


def _is_old(observed: ObservedClassifier, time: str) -> bool:
    """Return whether the time in the status must be renewed. Each write starts a reconciliation, so it is not done each time."""
    return _age(observed, time) > _deadline(observed) / 10


def _wanted(observed: ObservedClassifier, failed: tuple[Document, ...]) -> Version | None:
    """Return the pinned version or the newest that passed the gate, except those given up since the spec changed."""
    given_up = [each for each in failed if each["generation"] == observed.generation]
    choices = list(_choices(observed))
    left = (each for each in choices if not any(_is_about(note, each) for note in given_up))
    return next(left, choices[0] if choices else None)


def _choices(observed: ObservedClassifier) -> Iterator[Version]:
    """Yield versions in order of preference. After the first comes the served version, which is known to work."""
    pinned = observed.spec.serving.version
    passed = [
        _version(observed, run.name, run.status["artifactUri"], run.status.get("score"))
        for run in reversed(observed.runs)
        if run.may_be_served
    ]
    if pinned:
        yield _pinned(observed, pinned)
    elif passed and not (observed.spec.suspend and observed.served) and not _is_before_what_is_served(observed, passed[0].name):
        yield passed[0]
    if observed.served:
        before = _version(observed, observed.served["version"], observed.served["uri"], observed.served.get("score"))
        yield replace(before, manifest_sha256=observed.served.get("manifestSha256") or before.manifest_sha256)
    yield from passed


def _is_before_what_is_served(observed: ObservedClassifier, version: str) -> bool:
    """Return whether a version is older than the served one, whose run was deleted by hand."""
    run = observed.run_of(version)
    if not observed.served or run is None or observed.run_of(observed.served["version"]) is not None:
        return False
    return run.created <= parse_time(observed.served["since"])


def _pinned(observed: ObservedClassifier, version: str) -> Version:
    run = observed.run_of(version)
    uri = names.version_uri(observed.spec.storage.uri, observed.name, version)
    if run is not None:
        uri = run.status.get("artifactUri", uri)
    found = _version(observed, version, uri, run.status.get("score") if run is not None else None)
    return replace(found, manifest_sha256=observed.spec.serving.manifest_sha256 or found.manifest_sha256)


def _version(observed: ObservedClassifier, name: str, uri: str, score: float | None) -> Version:
    return Version(name, uri, score, _known_digest(observed, name, uri))


def _known_digest(observed: ObservedClassifier, version: str, uri: str) -> str | None:
    """Return the digest of the version at this address, from its run or from status.served; None: it is not known."""
    run = observed.run_of(version)
    if run is not None and run.status.get("artifactUri") == uri and run.status.get("manifestSha256"):
        return str(run.status["manifestSha256"])
    if _is_served(observed, version, uri):
        found: str | None = observed.served.get("manifestSha256")
        return found
    return None


def _given_up(observed: ObservedClassifier, failed: tuple[Document, ...]) -> str | None:
    """Return why the preferred version is not served."""
    first = next(_choices(observed), None)
    if first is None:
        return None
    now = [each for each in failed if _is_about(each, first) and each["generation"] == observed.generation]
    field = "spec.serving.version " if observed.spec.serving.version else ""
    return f"{_called(observed, first) or field + first.name} was given up: {now[-1]['message']}" if now else None


def _called(observed: ObservedClassifier, version: Version) -> str | None:
    """Return the field that asks for another digest of the served version; None: no field does."""
    digest = observed.spec.serving.manifest_sha256
    if digest is None or digest != version.manifest_sha256 or not _is_served(observed, version.name, version.uri):
        return None
    return f"spec.serving.manifestSha256 {digest} of {version.name}"


def _is_served(observed: ObservedClassifier, version: str, uri: str) -> bool:
    return (observed.served.get("version"), observed.served.get("uri")) == (version, uri)


def _answers(observed: ObservedClassifier, wanted: Version) -> bool:
    """Return whether all Pods serve the version, and each has answered so.

    If only the digest has changed, older Pods give the same answer, so the Pods must also be new ones.
    """
    if _is_served(observed, wanted.name, wanted.uri) and not _is_exchanged(observed, wanted):
        return False
    return set(answers_about(observed, wanted.uri)) == {wanted.name}


def _is_exchanged(observed: ObservedClassifier, wanted: Version) -> bool:
    """Return whether all Pods have verified the wanted digest, if there is one."""
    is_told = wanted.manifest_sha256 is not None and not observed.keeps_service(wanted.uri)
    return not is_told or served_manifest(observed.deployment) == wanted.manifest_sha256


def _served(observed: ObservedClassifier, wanted: Version) -> Document:
    told = wanted.manifest_sha256 if served_manifest(observed.deployment) == wanted.manifest_sha256 else None
    vouched = {"manifestSha256": told} if told else {}
    if _is_served(observed, wanted.name, wanted.uri):
        return {**_judged_now(observed), **vouched}
    since = {"version": wanted.name, "uri": wanted.uri, "since": format_time(observed.now), **vouched}
    return since if wanted.score is None else {**since, "score": wanted.score}


def _judged_now(observed: ObservedClassifier) -> Document:
    """Return status.served with the score that its run was last judged by."""
    run = observed.run_of(observed.served.get("version", ""))
    if run is None or "score" not in run.status or not _is_served(observed, run.name, run.status.get("artifactUri", "")):
        return observed.served
    return {**observed.served, "score": run.status["score"]}


def _requeue_after(observed: ObservedClassifier, wanted: Version, in_progress: Document) -> float:
    """Return seconds until Pods may answer differently or the deadline passes: neither causes an event."""
    if observed.uri == wanted.uri == served_uri(observed.deployment):
        return ANSWER_POLL_SECONDS
    return min(max(_deadline(observed) - _age(observed, in_progress["startedAt"]), 0.0) + 1.0, SLOW_POLL_SECONDS)


def _deadline(observed: ObservedClassifier) -> float:
    return parse_duration(observed.spec.serving.rollout.deadline)


def _age(observed: ObservedClassifier, time: str) -> float:
    return (observed.now - parse_time(time)).total_seconds()


def must_ask(observed: ObservedClassifier) -> bool:
    """Return whether to ask the Pods for their version: all have one that is not known to be served yet."""
    uri = served_uri(observed.deployment)
    return uri is not None and (uri != observed.served.get("uri") or bool(observed.status.get("rollout")))
