"""Worker threads, which take keys from the queue, reconcile them and retry failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Thread

from k8s.controller.clients.kubernetes import RequestRefused, Unavailable, WriteConflict
from k8s.controller.runtime.metrics import ControllerMetrics, Reason
from k8s.controller.runtime.queue import Key, WorkQueue

log = logging.getLogger(__name__)

STOP_CHECK_SECONDS = 1.0  # longest wait for a key between two checks of the stop flag


class Workers:
    """Threads that reconcile in parallel, never two of them the same object."""

    def __init__(
        self, queue: WorkQueue, reconcile: Callable[[Key], float | None], metrics: ControllerMetrics, *, threads: int
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._metrics = metrics
        self._started = self._stopping = False
        self._threads = [Thread(target=self._work, name=f"worker-{each}", daemon=True) for each in range(threads)]

    def start(self) -> None:
        """Start the threads."""
        self._started = True
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """Finish running reconciliations, and start no more."""
        self._stopping = True
        self._queue.close()
        for each in self._threads:
            each.join(timeout=30)

    def are_well(self) -> bool:
        """Return whether all started threads are alive."""
        return not self._started or all(each.is_alive() for each in self._threads)

    def _work(self) -> None:
        while not self._stopping:
            key = self._queue.take(STOP_CHECK_SECONDS)
            if key is not None:
                try:
                    self._process(key)
                finally:
                    self._queue.done(key)

    def _process(self, key: Key) -> None:
        started = time.monotonic()
        try:
            requeue_after = self._reconcile(key)
        except WriteConflict as error:
            log.info("%s %s/%s: %s; it is read again", *key, error)
            self._failed(key, "conflict")
        except (Unavailable, RequestRefused) as error:
            log.warning("%s %s/%s: %s", *key, error)
            self._failed(key, "unavailable" if isinstance(error, Unavailable) else "refused")
        except Exception:
            log.exception("%s %s/%s: a fault of the controller", *key)
            self._failed(key, "fault")
        else:
            self._queue.forget(key)
            if requeue_after is not None:
                self._queue.add_after(key, requeue_after)
        self._metrics.passed(key.kind, time.monotonic() - started)

    def _failed(self, key: Key, reason: Reason) -> None:
        self._metrics.failed(key.kind, reason)
        self._queue.retry(key)
