"""Sweeper: sends missing hints. Each worker has one; together they sweep once a second."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from redis.exceptions import RedisError

from gateway.records.leases import SWEEP_SECONDS, Leases
from gateway.work.metrics import WorkerMetrics

logger = logging.getLogger(__name__)


class Sweeper:
    """Thread that sweeps until it is stopped. send: sends one hint; raises an Exception if it cannot."""

    def __init__(self, leases: Leases, send: Callable[[], None], metrics: WorkerMetrics) -> None:
        self._leases = leases
        self._send = send
        self._metrics = metrics
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def sweep(self) -> int:
        """Send the hints that are missing, and return their number."""
        missing = self._leases.missing_hints()
        for _ in range(missing):
            self._send()
        self._metrics.hints.inc(missing)
        return missing

    def _run(self) -> None:
        while not self._stopped.wait(SWEEP_SECONDS):
            try:
                self.sweep()
            except (RedisError, OSError) as error:
                logger.warning("the sweeper cannot reach Redis: %s", error)
            except Exception:
                logger.exception("the sweeper failed")
