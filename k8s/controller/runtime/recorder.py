"""Writer of Events in a thread of its own: reconciliations do not wait for it, and an Event may be lost."""

from __future__ import annotations

import logging
import queue
from threading import Thread

from k8s.controller.clients.kubernetes import Cluster, ClusterError
from k8s.controller.objects.kinds import Document

log = logging.getLogger(__name__)

MAX_WAITING_EVENTS = 1000
CLOSE_SECONDS = 5.0  # to write waiting Events at the end


class Recorder:
    """Thread that writes Events one after the other. Any thread may call."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting: queue.Queue[Document | None] = queue.Queue(MAX_WAITING_EVENTS)
        self._thread = Thread(target=self._write, name="events", daemon=True)
        self._thread.start()

    def __call__(self, event: Document) -> None:
        """Write the Event soon, or drop it if a thousand others wait."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            log.warning("an event is not written, too many wait: %s", event["message"])

    def close(self) -> None:
        """Write waiting Events, for a few seconds."""
        try:
            self._waiting.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:
            return
        self._thread.join(CLOSE_SECONDS)

    def _write(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                self._cluster.create(event)
            except ClusterError as error:
                log.info("an event was not written: %s", error)
