"""Limit of classifiers that change to another predictor image at once, so that a bad image does not reach all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Lock

MAX_UPDATING = 2  # classifiers
MAX_SLOT_SECONDS = 600.0  # after this time, a classifier that is not ready no longer keeps the others waiting


class ImageUpdateSlots:
    """Slots for classifiers that change to another image. Any thread may call.

    clock: monotonic time in seconds.
    """

    def __init__(self, *, at_once: int = MAX_UPDATING, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._clock = clock
        self._since: dict[Hashable, float] = {}
        self._late: set[Hashable] = set()  # held a slot for too long: they go on updating, but no longer count
        self._lock = Lock()

    def acquire(self, classifier: Hashable) -> bool:
        """Take a slot if one is free. Return whether this classifier has one, be it from an earlier call."""
        with self._lock:
            self._late |= {each for each, since in self._since.items() if self._clock() - since > MAX_SLOT_SECONDS}
            self._since = {each: since for each, since in self._since.items() if each not in self._late}
            if classifier not in self._since and classifier not in self._late:
                if len(self._since) >= self._at_once:
                    return False
                self._since[classifier] = self._clock()
            return True

    def release(self, classifier: Hashable) -> None:
        """Free the classifier's slot, if it has one."""
        with self._lock:
            self._since.pop(classifier, None)
            self._late.discard(classifier)
