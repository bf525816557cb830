"""Circuit breaker of one predictor: after FAILURES_TO_OPEN failures in a row, only one request in a while is sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 5.0


class Breaker:
    """Breaker, for threads. The caller asks whether a request may start, and reports how it ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, open_seconds: float = OPEN_SECONDS) -> None:
        self._clock = clock
        self._open_seconds = open_seconds
        self._lock = Lock()
        self._failures = 0
        self._closed_again = 0.0  # time at which one request may try

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_TO_OPEN

    def may_ask(self) -> bool:
        """Return whether to send a request. While the breaker is open, one request in each `open_seconds` may."""
        with self._lock:
            if not self.is_open:
                return True
            if self._clock() < self._closed_again:
                return False
            self._closed_again = self._clock() + self._open_seconds
            return True

    def answered(self) -> None:
        """Close the breaker: the predictor answered."""
        with self._lock:
            self._failures = 0

    def unavailable(self) -> None:
        """Count a request that the predictor did not answer."""
        with self._lock:
            self._failures += 1
            if self._failures == FAILURES_TO_OPEN:
                self._closed_again = self._clock() + self._open_seconds
