"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

Step = TypeVar("Step")

SECONDS_BETWEEN_LINES = 10.0
log = logging.getLogger(__name__)


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[], Any]]:
    """Yield a function to call, from any thread, after each of `total` steps. Progress is shown on standard error."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=what, leave=False, file=sys.stderr) as bar:
            yield bar.update
    else:
        yield _Lines(total, what).advance


def track(steps: Iterable[Step], *, total: int, what: str) -> Iterator[Step]:
    """Yield the steps, and show their progress."""
    with progress(total, what) as advance:
        for step in steps:
            yield step
            advance()


class _Lines:
    """Log lines every SECONDS_BETWEEN_LINES; none if the work is shorter."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what, self._done = total, what, 0
        self._start = self._last = time.monotonic()
        self._lock = threading.Lock()

    def advance(self) -> None:
        """Count one more step."""
        with self._lock:
            self._done += 1
            now = time.monotonic()
            if now - self._last < SECONDS_BETWEEN_LINES or self._done >= self._total:
                return
            self._last = now
        left = (now - self._start) / self._done * (self._total - self._done)
        log.info("%s: %d of %d, about %.0f s left", self._what, self._done, self._total, left)
