"""Work queue of keys to reconcile.

The rules are those of client-go's queue: a key waits once, however often it is added; no two threads process it at once; a key
that is added while it is processed is taken again afterwards.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Condition
from typing import NamedTuple

MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 300.0  # between two attempts


class Key(NamedTuple):
    """Identity of an object in the cluster."""

    kind: str
    namespace: str
    name: str


class WorkQueue:
    """Keys to process: those of the least busy namespace first, then in order of arrival. Any thread may call.

    threads: number of threads that take keys. With keys of several namespaces, no namespace gets all threads, since its Pods or
    API objects may be slow. clock: monotonic time in seconds. draw: returns a number in [0, 1).
    """

    def __init__(
        self,
        *,
        threads: int = 64,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._threads = threads
        self._namespaces: set[str] = set()  # all that have had keys
        self._clock = clock
        self._draw = draw
        self._changed = Condition()
        self._waiting: dict[Key, None] = {}  # in order
        self._in_process: set[Key] = set()
        self._due: dict[Key, float] = {}  # the earliest time of each key
        self._times: list[tuple[float, Key]] = []  # a heap; outdated entries are skipped
        self._failures: Counter[Key] = Counter()
        self._closed = False

    def __len__(self) -> int:
        """Return the number of keys that wait now, without those in process and those of a later time."""
        with self._changed:
            self._move_due_keys()
            return len(self._waiting.keys() - self._in_process)

    def add(self, key: Key) -> None:
        """Add the key to be taken as soon as a thread is free."""
        with self._changed:
            self._waiting.setdefault(key)
            self._namespaces.add(key.namespace)
            self._changed.notify_all()

    def add_all(self, keys: Iterable[Key]) -> None:
        """Add all keys."""
        for key in keys:
            self.add(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Add the key after that many seconds. If it is added several times, only the earliest time counts."""
        when = self._clock() + seconds
        with self._changed:
            if when < self._due.get(key, float("inf")):
                self._due[key] = when
                heapq.heappush(self._times, (when, key))
                self._changed.notify_all()

    def retry(self, key: Key) -> float:
        """Add the key after a failure, with exponential backoff and jitter. Return the delay in seconds."""
        with self._changed:
            self._failures[key] += 1
            most = min(MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS * 2.0 ** min(self._failures[key], 32))
        seconds = most * (1 + self._draw()) / 2
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: Key) -> None:
        """Reset the key's backoff after a success."""
        with self._changed:
            self._failures.pop(key, None)

    def take(self, timeout: float) -> Key | None:
        """Return the next key, which is in process until `done`; None after the timeout in seconds, or if the queue is closed."""
        end = self._clock() + timeout
        with self._changed:
            while not self._closed:
                self._move_due_keys()
                if (key := self._next()) is not None:
                    del self._waiting[key]
                    self._due.pop(key, None)  # its reconciliation sets the next time
                    self._in_process.add(key)
                    return key
                now = self._clock()
                if now >= end:
                    return None
                self._changed.wait(min(end, self._times[0][0] if self._times else end) - now)
            return None

    def done(self, key: Key) -> None:
        """End the processing of a key."""
        with self._changed:
            self._in_process.discard(key)
            self._changed.notify_all()

    def close(self) -> None:
        """Close the queue. Waiting keys are found again at the next start."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> Key | None:
        """Return the key to take now, None if there is none."""
        busy = Counter(each.namespace for each in self._in_process)
        most = max(1, self._threads - 1) if len(self._namespaces) > 1 else self._threads
        free = [key for key in self._waiting if key not in self._in_process and busy[key.namespace] < most]
        return min(free, key=lambda key: busy[key.namespace], default=None)

    def _move_due_keys(self) -> None:
        """Move keys that are due to the waiting ones."""
        now = self._clock()
        while self._times and self._times[0][0] <= now:
            when, key = heapq.heappop(self._times)
            if self._due.get(key) == when:
                del self._due[key]
                self._waiting.setdefault(key)
