"""Delay until a task or a webhook is tried again."""

from __future__ import annotations

import random

FIRST_DELAY_SECONDS = 0.5


def delay_seconds(attempts: int, *, longest: float, asked: float = 0.0) -> float:
    """Return the delay until the next attempt. It doubles with each one, and is random, so that not all come back at once.

    asked: seconds that the other side asks to wait; the delay is at least this, up to `longest`.
    """
    delay = min(longest, FIRST_DELAY_SECONDS * 2.0 ** min(attempts, 30)) * random.uniform(0.5, 1.0)
    return max(delay, min(asked, longest))
