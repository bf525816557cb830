"""Which classifiers may get another image now: a few at a time, so that a bad one does not reach all of them at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Lock

AT_ONCE = 2
LONGEST = 600.0  # seconds that one which does not become ready keeps the others waiting


class Turns:
    """Turns that are taken and given back. Any thread may call. clock: in seconds, never back."""

    def __init__(self, *, at_once: int = AT_ONCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._clock = clock
        self._since: dict[Hashable, float] = {}
        self._late: set[Hashable] = set()  # that did not give theirs back in time: they go on, and nobody waits for them
        self._lock = Lock()

    def take(self, who: Hashable) -> bool:
        """Take a turn, if one is free; whether it has one."""
        with self._lock:
            self._late |= {each for each, since in self._since.items() if self._clock() - since > LONGEST}
            self._since = {each: since for each, since in self._since.items() if each not in self._late}
            if who not in self._since and who not in self._late:
                if len(self._since) >= self._at_once:
                    return False
                self._since[who] = self._clock()
            return True

    def give_back(self, who: Hashable) -> None:
        """Let another have it."""
        with self._lock:
            self._since.pop(who, None)
            self._late.discard(who)
