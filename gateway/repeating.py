"""Threads of a worker that repeat a step until the worker stops."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


class Repeating:
    """Thread that repeats a step until it is stopped. Errors of the step are logged, and do not end it.

    step: returns whether to repeat it at once; otherwise it is repeated after `pause` seconds. first_after: seconds before the
    first time.
    """

    def __init__(self, name: str, step: Callable[[], bool], *, pause: float, first_after: float = 0.0) -> None:
        self._name = name
        self._step = step
        self._pause = pause
        self._first_after = first_after
        self._stopped = Event()
        self._thread = Thread(target=self.run, name=name, daemon=True)

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no further step."""
        self._stopped.set()

    def run(self) -> None:
        """Repeat the step in this thread."""
        pause = self._first_after
        while not self._stopped.wait(pause):
            pause = 0.0 if self._attempt() else self._pause

    def _attempt(self) -> bool:
        try:
            return self._step()
        except (RedisError, OSError) as error:
            logger.warning("the %s cannot reach Redis: %s", self._name, error)
        except Exception:
            logger.exception("the %s failed", self._name)
        return False
