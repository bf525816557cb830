"""Hints to the workers, sent from a thread: Celery's client blocks, and a submission must not wait for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import Full, Queue
from threading import Thread

MOST_WAITING = 1000

logger = logging.getLogger(__name__)


class HintSender:
    """Thread that sends hints. A hint that cannot be sent is dropped: the sweeper sends missing hints.

    send: sends one hint; raises an Exception if it cannot.
    """

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._waiting: Queue[bool] = Queue(MOST_WAITING)
        self._thread = Thread(target=self._run, name="hints", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send the hints that wait, then end the thread."""
        self._put(more=False)
        self._thread.join(timeout=2)

    def send_soon(self) -> None:
        """Send a hint, or drop it if too many wait. Does not block."""
        self._put(more=True)

    def _put(self, *, more: bool) -> None:
        try:
            self._waiting.put_nowait(more)
        except Full:
            logger.debug("a hint was dropped")

    def _run(self) -> None:
        while self._waiting.get():
            try:
                self._send()
            except Exception as error:  # noqa: BLE001 - whatever kombu or Redis raises
                logger.warning("a hint was not sent: %s", error)
