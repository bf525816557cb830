"""Leader election with a Lease: one replica works, and another takes over when it ends.

The rules are client-go's. The holder renews the lease every `period`, and works no longer than `deadline` after the start of
its last renewal. Others take the lease after `duration` without a renewal, by their own clocks; the times in the lease are for
people. So two never lead at once, unless one clock runs `duration / deadline` times as fast as the other, or the lease is
deleted.

The official client's election is not used: as the leader it waits for the API server without a limit, it uses the time of day,
it ends with an exception without a connection, and it never releases.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

from k8s.controller.clients.kubernetes import LEASE, Cluster, ClusterError, Document, WriteConflict

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """Lease of the leader election. Times in seconds.

    holder: identity of this process, different for each start.
    """

    namespace: str
    name: str
    holder: str
    duration: int = 15  # others take the lease after this long without a renewal
    deadline: float = 10.0  # the leader stops after this long without a renewal
    period: float = 2.0  # between two attempts

    def __post_init__(self) -> None:
        """Check the times. Raises ValueError for times with which two could lead."""
        if not 0 < self.period < self.deadline < self.duration:
            raise ValueError(
                f"the lease has period {self.period:g}, deadline {self.deadline:g} and duration {self.duration:g} s: "
                "expected each to be longer than the one before"
            )


class LeaderCandidate:
    """Candidate of the election. One thread at a time may call its methods, except `seconds_left`.

    clock: monotonic time in seconds. now: time of day, for people.
    """

    def __init__(
        self,
        cluster: Cluster,
        lease: Lease,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.lease = lease
        self._cluster = cluster
        self._clock = clock
        self._now = now
        self._leads_until = float("-inf")
        self._seen_version = ""  # of the lease, first seen at _seen_at
        self._seen_at = float("-inf")

    def seconds_left(self) -> float:
        """Return the seconds for which it still leads without another renewal; 0 if it does not lead."""
        return max(0.0, self._leads_until - self._clock())

    def attempt(self) -> bool:
        """Take or renew the lease. Return whether it succeeded. Raises ClusterError if that is unknown."""
        began = self._clock()
        found = self._cluster.get(LEASE, self.lease.namespace, self.lease.name)
        if found is None:
            taken = self._cluster.create(self._document())
        elif _holder(found) == self.lease.holder:
            taken = self._write({"renewTime": self._time()}, found)
        else:
            self._leads_until = float("-inf")
            taken = self._write(self._claim(found), found) if self._is_free(found) else None
        if taken is None:
            return False
        self._leads_until = began + self.lease.deadline
        return True

    def release(self) -> None:
        """Release the lease, so that others take it at their next attempt. The work must have ended."""
        self._leads_until = float("-inf")
        found = self._cluster.get(LEASE, self.lease.namespace, self.lease.name)
        if found is not None and _holder(found) == self.lease.holder:
            self._write({"holderIdentity": None, "renewTime": self._time()}, found)

    def _is_free(self, found: Document) -> bool:
        """Return whether the lease was released, or not renewed for its duration since this state was first seen."""
        version = str(found["metadata"]["resourceVersion"])
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, self._clock()
        duration = max(self.lease.duration, _spec(found).get("leaseDurationSeconds") or 0)
        return not _holder(found) or self._clock() >= self._seen_at + duration

    def _write(self, spec: Document, found: Document) -> Document | None:
        """Write the lease. Return it; None if another process was faster or it was deleted."""
        version = found["metadata"]["resourceVersion"]
        try:
            return self._cluster.merge(LEASE, self.lease.namespace, self.lease.name, {"spec": spec}, resource_version=version)
        except WriteConflict:
            return None

    def _document(self) -> Document:
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"namespace": self.lease.namespace, "name": self.lease.name},
            "spec": self._claim(),
        }

    def _claim(self, found: Document | None = None) -> Document:
        """Return the spec of the lease with this process as its holder."""
        now = self._time()
        return {
            "holderIdentity": self.lease.holder,
            "leaseDurationSeconds": self.lease.duration,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": (_spec(found).get("leaseTransitions") or 0) + 1 if found else 0,
        }

    def _time(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def lead(
    candidate: LeaderCandidate, *, on_started: Callable[[], None], on_lost: Callable[[], None], stop: Event | None = None
) -> bool:
    """Wait to lead, work, release. Return whether it led.

    on_started: the work; all of it must have ended when it returns. on_lost: called by another thread if the lease was not
    renewed in time; it must end the process at once. stop: event that ends the waiting.
    """
    stop = stop or Event()
    while not stop.is_set():
        if _try(candidate):
            break
        stop.wait(candidate.lease.period)
    else:
        return False
    logger.info("%s leads", candidate.lease.holder)
    ended = Event()
    renewing = Thread(target=_renew, args=(candidate, ended), name="renew", daemon=True)
    watching = Thread(target=_watch, args=(candidate, ended, on_lost), name="watch", daemon=True)
    renewing.start()
    watching.start()
    try:
        on_started()
    finally:
        ended.set()
        renewing.join(candidate.lease.deadline)
        watching.join()
        _release(candidate)
    return True


def _renew(candidate: LeaderCandidate, ended: Event) -> None:
    while not ended.wait(candidate.lease.period):
        _try(candidate)


def _watch(candidate: LeaderCandidate, ended: Event, on_lost: Callable[[], None]) -> None:
    """Watch the deadline, in another thread than the renewal, which may hang."""
    while left := candidate.seconds_left():
        if ended.wait(left):
            return
    if ended.is_set():
        return
    logger.error("%s does not lead any more: the lease was not renewed in time", candidate.lease.holder)
    on_lost()


def _try(candidate: LeaderCandidate) -> bool:
    try:
        return candidate.attempt()
    except ClusterError as error:
        logger.warning("the lease cannot be taken or renewed: %s", error)
        return False


def _release(candidate: LeaderCandidate) -> None:
    try:
        candidate.release()
    except ClusterError as error:  # it expires by itself
        logger.warning("the lease cannot be released: %s", error)


def _spec(found: Document) -> dict[str, Any]:
    return found.get("spec") or {}


def _holder(found: Document) -> str:
    return _spec(found).get("holderIdentity") or ""
