"""The work queue: which objects are to be looked at, and when. Knows nothing of what is done with them.

It keeps the rules of client-go's queue: a key waits once however often it is added, no two threads work on it at once, and
what is added while it is worked on is taken again afterwards.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Condition
from typing import NamedTuple

SHORTEST, LONGEST = 0.5, 300.0  # seconds between two tries


class Key(NamedTuple):
    """An object of the cluster, by its names."""

    kind: str
    namespace: str
    name: str


class WorkQueue:
    """Keys to work on: first those of the namespace that is worked on least, then first come first served. Any thread may call.

    threads: that take keys. Once there are keys of several namespaces, none of these has all threads: its Pods or its API
    objects may be slow. clock: in seconds, never back; draw: a number from 0 to 1, without 1.
    """

    def __init__(
        self,
        *,
        threads: int = 64,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._threads = threads
        self._namespaces: set[str] = set()  # that had keys
        self._clock = clock
        self._draw = draw
        self._changed = Condition()
        self._waiting: dict[Key, None] = {}  # in order
        self._worked_on: set[Key] = set()
        self._due: dict[Key, float] = {}  # the earliest time of each
        self._times: list[tuple[float, Key]] = []  # a heap, with some that are not the earliest any more
        self._failures: Counter[Key] = Counter()
        self._closed = False

    def __len__(self) -> int:
        """How many keys are to be taken now; not those that are worked on, nor those of later."""
        with self._changed:
            self._let_in()
            return len(self._waiting.keys() - self._worked_on)

    def add(self, key: Key) -> None:
        """Have it taken as soon as a thread is free. What `add_after` said of it holds until then."""
        with self._changed:
            self._waiting.setdefault(key)
            self._namespaces.add(key.namespace)
            self._changed.notify_all()

    def add_all(self, keys: Iterable[Key]) -> None:
        """Each of them."""
        for key in keys:
            self.add(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Have it taken in so many seconds. The earliest of several times holds, and is the only one."""
        when = self._clock() + seconds
        with self._changed:
            if when < self._due.get(key, float("inf")):
                self._due[key] = when
                heapq.heappush(self._times, (when, key))
                self._changed.notify_all()

    def retry(self, key: Key) -> float:
        """Have it taken again after a failure; in how many seconds: twice as many each time, and never all at once."""
        with self._changed:
            self._failures[key] += 1
            most = min(LONGEST, SHORTEST * 2.0 ** min(self._failures[key], 32))
        seconds = most * (1 + self._draw()) / 2
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: Key) -> None:
        """It succeeded: the next failure counts as the first."""
        with self._changed:
            self._failures.pop(key, None)

    def take(self, timeout: float) -> Key | None:
        """The next key, which is then worked on until `done`. None: there was none for so many seconds, or it is closed."""
        end = self._clock() + timeout
        with self._changed:
            while not self._closed:
                self._let_in()
                if (key := self._next()) is not None:
                    del self._waiting[key]
                    self._due.pop(key, None)  # who works on it says anew when it is to be looked at again
                    self._worked_on.add(key)
                    return key
                now = self._clock()
                if now >= end:
                    return None
                self._changed.wait(min(end, self._times[0][0] if self._times else end) - now)
            return None

    def done(self, key: Key) -> None:
        """It is worked on no more."""
        with self._changed:
            self._worked_on.discard(key)
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing is taken from now on: what waits is found again at the next start."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> Key | None:
        """The key to be taken now, None if there is none that may."""
        busy = Counter(each.namespace for each in self._worked_on)
        most = max(1, self._threads - 1) if len(self._namespaces) > 1 else self._threads
        free = [key for key in self._waiting if key not in self._worked_on and busy[key.namespace] < most]
        return min(free, key=lambda key: busy[key.namespace], default=None)

    def _let_in(self) -> None:
        """Have those wait whose time has come."""
        now = self._clock()
        while self._times and self._times[0][0] <= now:
            when, key = heapq.heappop(self._times)
            if self._due.get(key) == when:
                del self._due[key]
                self._waiting.setdefault(key)
