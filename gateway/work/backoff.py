"""Time until something is tried again."""

from __future__ import annotations

import random

FIRST_DELAY_SECONDS = 0.5


def delay_seconds(attempts: int, *, longest: float, asked: float = 0.0) -> float:
    """Return the time until the next attempt: doubled with each one, and spread, so that not all come back at once.

    asked: what the other side asks to wait; it counts up to `longest`.
    """
    delay = min(longest, FIRST_DELAY_SECONDS * 2.0 ** min(attempts, 30)) * random.uniform(0.5, 1.0)
    return max(delay, min(asked, longest))
