"""Cache of applied documents, so that a reconciliation without changes makes no requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from k8s.controller.clients.kubernetes import Cluster
from k8s.controller.objects import names
from k8s.controller.objects.kinds import Document

MAX_AGE_SECONDS = 900.0  # of an entry


@dataclass(frozen=True, eq=False)
class _Applied:
    """Entry. digest: digest of the applied document. state: state of the object after it."""

    digest: str
    state: str
    since: float


class ApplyCache:
    """Digest of each applied document, and the state of the object after it. Any thread may call.

    `changed` gets every event of these objects. An event with another state means that someone else has changed or deleted the
    object, so it is applied again. Since events can be lost while a watch is broken, entries expire. clock: monotonic time in
    seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str, str], _Applied] = {}
        self._lock = Lock()

    def apply(self, cluster: Cluster, document: Document) -> None:
        """Apply the document, unless the object already has it."""
        key, digest = _key(document), names.digest(document)
        with self._lock:
            known = self._known.get(key)
            if known and known.digest == digest and self._clock() - known.since < MAX_AGE_SECONDS:
                return
            # An event before the response may belong to another change, and removes this entry.
            pending = self._known[key] = _Applied("", "", self._clock())
        result = cluster.apply(document)
        with self._lock:
            if self._known.get(key) is pending:
                self._known[key] = _Applied(digest, _state(result), pending.since)

    def changed(self, document: Document, *, deleted: bool) -> bool:
        """Return whether an event of that object is not the result of our own apply."""
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
    """Return the uid and generation, which change with the object but not with its status."""
    metadata = document["metadata"]
    return f"{metadata['uid']} {metadata.get('generation') or metadata.get('resourceVersion')}"
