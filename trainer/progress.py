"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Step = TypeVar("Step")

SECONDS_BETWEEN_LINES = 10.0
log = logging.getLogger(__name__)


def track(steps: Iterable[Step], *, total: int, what: str) -> Iterator[Step]:
    """The steps as they come, with the progress through `total` of them on standard error."""
    if sys.stderr.isatty():
        yield from tqdm(steps, total=total, desc=what, leave=False, file=sys.stderr)
    else:
        yield from _with_lines(steps, total, what)


def _with_lines(steps: Iterable[Step], total: int, what: str) -> Iterator[Step]:
    start = last = time.monotonic()
    for done, step in enumerate(steps, start=1):
        yield step
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done < total:
            left = (now - start) / done * (total - done)
            log.info("%s: %d of %d, %.0f s left", what, done, total, left)
            last = now
