"""Sweeper: sends missing hints. Each worker has one; together they sweep once a second."""

from __future__ import annotations

from collections.abc import Callable

from gateway.records.leases import SWEEP_SECONDS, Leases
from gateway.repeating import Repeating
from gateway.work.metrics import WorkerMetrics


class Sweeper:
    """Sweeper with its thread. send: sends one hint; raises an Exception if it cannot."""

    def __init__(self, leases: Leases, send: Callable[[], None], metrics: WorkerMetrics) -> None:
        self._leases = leases
        self._send = send
        self._metrics = metrics
        self.thread = Repeating("sweeper", self._step, pause=SWEEP_SECONDS, first_after=SWEEP_SECONDS)

    def sweep(self) -> int:
        """Send the hints that are missing, and return their number."""
        missing = self._leases.missing_hints()
        for _ in range(missing):
            self._send()
        self._metrics.hints.inc(missing)
        return missing

    def _step(self) -> bool:
        self.sweep()
        return False
