"""Which version is to be served, how far that has come, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from k8s.controller import names
from k8s.controller.decisions.seen import Seen, answered_instead, answers_about, is_unheard, served_manifest, served_uri, why_not
from k8s.controller.kinds import Document
from k8s.controller.objects import format_time, parse_time
from k8s.controller.resources import parse_duration

LOOK_AGAIN = 2.0  # seconds, once all Pods are there: that they answer is told by nobody
LATE = 30.0  # the same, before, and once nobody expects it any more
REMEMBERED = 10  # roll-outs that failed, beside those that would be tried again otherwise
MOST = 100  # that a status has room for


@dataclass(frozen=True)
class RollOut:
    """uri: what the InferenceService is to serve; none: nothing yet. served: the version that is known to answer.

    going: the note on a roll-out that goes on. failed: roll-outs that were given up. problem: why what is wanted is not served.
    manifest_sha256: that of the version's manifest; none: nothing is known that vouches for it.
    """

    version: str | None = None
    uri: str | None = None
    served: Document | None = None
    going: Document | None = None
    failed: tuple[Document, ...] = ()
    problem: str | None = None
    again: float | None = None
    manifest_sha256: str | None = None


@dataclass(frozen=True)
class Version:
    """One that may be served, and the score that it passed the gate with, if that is known."""

    name: str
    uri: str
    score: float | None = None
    manifest_sha256: str | None = None


def roll_out(seen: Seen) -> RollOut:
    """What to serve now. A version that did not become ready in its time is given up for the one before."""
    failed = tuple(seen.status.get("failedRollouts") or ())
    wanted = _wanted(seen, failed)
    if wanted is None:
        return RollOut(failed=failed)
    state = _towards(seen, wanted, failed)
    if seen.unserved or seen.taken:  # nothing can be asked for: its time begins when something can
        return replace(state, going=None, again=LATE)
    if state.going is None or _age(seen, state.going["startedAt"]) <= _deadline(seen):
        return state
    return _late(seen, wanted, state)


def _late(seen: Seen, wanted: Version, state: RollOut) -> RollOut:
    """Its time is over: the one before, unless that is no reason to think ill of this one, or nothing is won."""
    message, going = _why_late(seen, wanted), state.going or {}
    late = replace(state, problem=f"{_called(seen, wanted) or wanted.name}: {message}", again=LATE)
    if seen.fits_nowhere or is_unheard(seen, wanted.uri):
        return replace(late, going={**going, "excusedAt": _excused_at(seen, going)})
    if "excusedAt" in going and _age(seen, going["excusedAt"]) <= _deadline(seen):
        return late  # what it was excused for is mended, perhaps: it has its time anew
    given_up = {"version": wanted.name, "generation": seen.generation, "time": format_time(seen.now), "message": message}
    given_up |= {"manifestSha256": wanted.manifest_sha256} if wanted.manifest_sha256 else {}
    failed = _remembered(seen, (*_without(wanted, state.failed), given_up))
    back = _wanted(seen, failed)
    if back is None or _is_about(given_up, back):  # perhaps it still comes
        return late
    if wanted.manifest_sha256 and back.manifest_sha256 is None and back.name == wanted.name:
        return late  # a digest is never taken away: then altered files would be served
    return _towards(seen, back, failed)


def _why_late(seen: Seen, wanted: Version) -> str:
    within = f"within spec.serving.rollout.deadline {seen.spec.serving.rollout.deadline}"
    if instead := answered_instead(seen, wanted.name, wanted.uri):
        return f"not seen to be served {within}: {instead}"
    return f"not ready {within}: {why_not(seen) or 'its Pods did not become ready'}"


def _without(version: Version, failed: tuple[Document, ...]) -> tuple[Document, ...]:
    return tuple(each for each in failed if not _is_about(each, version))


def _is_about(note: Document, version: Version) -> bool:
    """Whether a note of the status means this version with this digest. One without a digest means any."""
    return note.get("version") == version.name and note.get("manifestSha256", version.manifest_sha256) == version.manifest_sha256


def _remembered(seen: Seen, failed: tuple[Document, ...]) -> tuple[Document, ...]:
    """The latest, and all of this spec that may be chosen: no version is tried again while there are others."""
    choices = list(_choices(seen))
    needed = [each["generation"] == seen.generation and any(_is_about(each, choice) for choice in choices) for each in failed]
    old = len(failed) - REMEMBERED
    return tuple(each for number, each in enumerate(failed) if number >= old or needed[number])[-MOST:]


def _towards(seen: Seen, wanted: Version, failed: tuple[Document, ...]) -> RollOut:
    return replace(_step_towards(seen, wanted, failed), manifest_sha256=wanted.manifest_sha256)


def _step_towards(seen: Seen, wanted: Version, failed: tuple[Document, ...]) -> RollOut:
    if _answers(seen, wanted):
        failed = _without(wanted, failed)  # it has come after all
        return RollOut(wanted.name, wanted.uri, _served(seen, wanted), None, failed, _given_up(seen, failed))
    problem, served = _given_up(seen, failed), seen.served or None
    is_settled = seen.uri in (wanted.uri, None) and served_uri(seen.deployment) in (wanted.uri, None)
    if served and served["uri"] == wanted.uri and is_settled and not seen.status.get("rollout"):
        if wanted.manifest_sha256 and served_manifest(seen.deployment) == wanted.manifest_sha256:
            served = {**served, "manifestSha256": wanted.manifest_sha256}
        if served.get("manifestSha256") == wanted.manifest_sha256 or seen.keeps_service(wanted.uri):
            return RollOut(wanted.name, wanted.uri, served, None, failed, problem)  # Pods come and go
    going = _going(seen, wanted)
    return RollOut(wanted.name, wanted.uri, served, going, failed, problem, again=_again(seen, wanted, going))


def _going(seen: Seen, wanted: Version) -> Document:
    """Return since when the roll-out's time runs: from now for another spec, and while the API server refuses to ask for it."""
    noted = seen.status.get("rollout") or {}
    from_now = {"version": wanted.name, "startedAt": format_time(seen.now)}
    if wanted.manifest_sha256:
        from_now["manifestSha256"] = wanted.manifest_sha256
    if not _is_about(noted, wanted) or seen.status.get("observedGeneration") != seen.generation:
        return from_now
    if not _is_asked_for(seen, wanted) and _is_old(seen, noted["startedAt"]):
        return from_now
    return dict(noted)


def _is_asked_for(seen: Seen, wanted: Version) -> bool:
    """Whether the InferenceService names this version, with this digest."""
    same = seen.asked_manifest == wanted.manifest_sha256 or seen.keeps_service(wanted.uri)
    return seen.uri == wanted.uri and same


def _excused_at(seen: Seen, going: Document) -> str:
    """When there was last a reason to wait for it that is not its own."""
    noted: str | None = going.get("excusedAt")
    return format_time(seen.now) if noted is None or _is_old(seen, noted) else noted


def _is_old(seen: Seen, time: str) -> bool:
    """Whether to note it anew. Not every time: a status that is another one each time is looked at each time."""
    return _age(seen, time) > _deadline(seen) / 10


def _wanted(seen: Seen, failed: tuple[Document, ...]) -> Version | None:
    """The pinned version, or the newest that has passed the gate; without those that were given up since the spec changed."""
    given_up = [each for each in failed if each["generation"] == seen.generation]
    choices = list(_choices(seen))
    left = (each for each in choices if not any(_is_about(note, each) for note in given_up))
    return next(left, choices[0] if choices else None)


def _choices(seen: Seen) -> Iterator[Version]:
    """In the order of preference: after the first, what was served last, since it is known to work."""
    pinned = seen.spec.serving.version
    passed = [
        _version(seen, run.name, run.status["artifactUri"], run.status.get("score"))
        for run in reversed(seen.runs)
        if run.may_be_served
    ]
    if pinned:
        yield _pinned(seen, pinned)
    elif passed and not (seen.spec.suspend and seen.served) and not _is_before_what_is_served(seen, passed[0].name):
        yield passed[0]
    if seen.served:
        before = _version(seen, seen.served["version"], seen.served["uri"], seen.served.get("score"))
        yield replace(before, manifest_sha256=seen.served.get("manifestSha256") or before.manifest_sha256)
    yield from passed


def _is_before_what_is_served(seen: Seen, version: str) -> bool:
    """Whether it is older than the served version, whose run was deleted by hand."""
    run = seen.run_of(version)
    if not seen.served or run is None or seen.run_of(seen.served["version"]) is not None:
        return False
    return run.created <= parse_time(seen.served["since"])


def _pinned(seen: Seen, version: str) -> Version:
    run = seen.run_of(version)
    uri = names.version_uri(seen.spec.storage.uri, seen.name, version)
    if run is not None:
        uri = run.status.get("artifactUri", uri)
    found = _version(seen, version, uri, run.status.get("score") if run is not None else None)
    return replace(found, manifest_sha256=seen.spec.serving.manifest_sha256 or found.manifest_sha256)


def _version(seen: Seen, name: str, uri: str, score: float | None) -> Version:
    return Version(name, uri, score, known_digest(seen, name, uri))


def known_digest(seen: Seen, version: str, uri: str) -> str | None:
    """The SHA-256 of the manifest of the version at this address, as its run told it or as it was served; none: of before."""
    run = seen.run_of(version)
    if run is not None and run.status.get("artifactUri") == uri and run.status.get("manifestSha256"):
        return str(run.status["manifestSha256"])
    if (seen.served.get("version"), seen.served.get("uri")) == (version, uri):
        found: str | None = seen.served.get("manifestSha256")
        return found
    return None


def _given_up(seen: Seen, failed: tuple[Document, ...]) -> str | None:
    """Why what is preferred is not served."""
    first = next(_choices(seen), None)
    if first is None:
        return None
    now = [each for each in failed if _is_about(each, first) and each["generation"] == seen.generation]
    field = "spec.serving.version " if seen.spec.serving.version else ""
    return f"{_called(seen, first) or field + first.name} was given up: {now[-1]['message']}" if now else None


def _called(seen: Seen, version: Version) -> str | None:
    """The field that asks for another digest of the served version; none: that is not what is asked for."""
    digest = seen.spec.serving.manifest_sha256
    if digest is None or digest != version.manifest_sha256 or not _is_served(seen, version):
        return None
    return f"spec.serving.manifestSha256 {digest} of {version.name}"


def _is_served(seen: Seen, version: Version) -> bool:
    return (seen.served.get("version"), seen.served.get("uri")) == (version.name, version.uri)


def _answers(seen: Seen, wanted: Version) -> bool:
    """Whether the InferenceService asks for it, all Pods are of it, and each has said so itself.

    Pods of the served version may be of before it was given its digest, and answer the same.
    """
    if _is_served(seen, wanted) and not _is_exchanged(seen, wanted):
        return False
    return set(answers_about(seen, wanted.uri)) == {wanted.name}


def _is_exchanged(seen: Seen, wanted: Version) -> bool:
    """Whether all Pods have found the manifest with the digest that is wanted, if they are to be told one."""
    is_told = wanted.manifest_sha256 is not None and not seen.keeps_service(wanted.uri)
    return not is_told or served_manifest(seen.deployment) == wanted.manifest_sha256


def _served(seen: Seen, wanted: Version) -> Document:
    told = wanted.manifest_sha256 if served_manifest(seen.deployment) == wanted.manifest_sha256 else None
    vouched = {"manifestSha256": told} if told else {}
    if _is_served(seen, wanted):
        return {**seen.served, **vouched}
    since = {"version": wanted.name, "uri": wanted.uri, "since": format_time(seen.now), **vouched}
    return since if wanted.score is None else {**since, "score": wanted.score}


def _again(seen: Seen, wanted: Version, going: Document) -> float:
    """Events tell of Pods that come; nobody tells what they answer, nor that the deadline is over."""
    if seen.uri == wanted.uri == served_uri(seen.deployment):
        return LOOK_AGAIN
    return min(max(_deadline(seen) - _age(seen, going["startedAt"]), 0.0) + 1.0, LATE)


def _deadline(seen: Seen) -> float:
    return parse_duration(seen.spec.serving.rollout.deadline)


def _age(seen: Seen, time: str) -> float:
    return (seen.now - parse_time(time)).total_seconds()


def must_ask(seen: Seen) -> bool:
    """Whether the Pods have to say which version they serve: once all are of one that is not known to answer."""
    uri = served_uri(seen.deployment)
    return uri is not None and (uri != seen.served.get("uri") or bool(seen.status.get("rollout")))
