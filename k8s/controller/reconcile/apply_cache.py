"""What was applied last, so that a pass which changes nothing also asks nothing of the API server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from k8s.controller.clients.kubernetes import Cluster
from k8s.controller.objects import names
from k8s.controller.objects.kinds import Document

REMEMBERED_SECONDS = 900.0  # seconds


@dataclass(frozen=True, eq=False)
class _Applied:
    """wanted: a digest of what was applied. state: of the object, afterwards."""

    wanted: str
    state: str
    since: float


class ApplyCache:
    """Remembers what each document was, and which state of the object it led to. Any thread may call.

    It is told of every event on these objects: one that tells of another state than ours means that somebody else changed the
    object, or took it away, and that it has to be applied again. Events may be lost, as while a watch is broken: nothing is
    remembered for long. clock: in seconds, never back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str, str], _Applied] = {}
        self._lock = Lock()

    def apply(self, cluster: Cluster, document: Document) -> None:
        """Apply it, unless it is so already."""
        key, wanted = _key(document), names.digest(document)
        with self._lock:
            known = self._known.get(key)
            if known and known.wanted == wanted and self._clock() - known.since < REMEMBERED_SECONDS:
                return
            # Not known until it is answered; an event that comes meanwhile may be of somebody else, and takes this away.
            asked = self._known[key] = _Applied("", "", self._clock())
        result = cluster.apply(document)
        with self._lock:
            if self._known.get(key) is asked:
                self._known[key] = _Applied(wanted, _state(result), asked.since)

    def changed(self, document: Document, *, deleted: bool) -> bool:
        """An event on that object: whether it is news, and has to be looked at."""
        key = _key(document)
        with self._lock:
            known = self._known.get(key)
            if known and not deleted and known.state == _state(document):
                return False
            self._known.pop(key, None)
            return True


def _key(document: Document) -> tuple[str, str, str]:
    return document["kind"], document["metadata"]["namespace"], document["metadata"]["name"]


def _state(document: Document) -> str:
    """What is different once somebody has changed what was asked for; a status does not count."""
    metadata = document["metadata"]
    return f"{metadata['uid']} {metadata.get('generation') or metadata.get('resourceVersion')}"
