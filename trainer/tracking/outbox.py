"""Outbox: send messages to another system in the background, in order, and retry while it is unavailable.

Knows neither the messages nor the system. A message that cannot be delivered causes a warning. The caller waits only in
`flush` and `close`, for a bounded time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

DELIVERY_SECONDS = 5.0  # between two deliveries
MAX_PAUSE_SECONDS = 60.0  # between two attempts, while the recipient is unavailable
MIN_PAUSE_SECONDS = 1.0  # even during a flush
MAX_LETTERS = 1_000


class Refused(Exception):
    """The recipient rejects a message, and would reject it again."""


@dataclass(frozen=True)
class Letter:
    """Message to deliver. what: its name in warnings. send: sends it; sending twice must do no harm."""

    what: str
    send: Callable[[], None]


class Outbox:
    """Queue of letters to one recipient. Any thread may put; the outbox's own thread sends."""

    def __init__(
        self,
        recipient: str,
        *,
        every: float = DELIVERY_SECONDS,
        shortest_pause: float = MIN_PAUSE_SECONDS,
        most: int = MAX_LETTERS,
    ) -> None:
        """Take recipient: its name in warnings, without credentials; every: seconds between deliveries; most: letters kept."""
        self._recipient = recipient
        self._every = self._pause = every
        self._shortest_pause = shortest_pause
        self._most = most
        self._letters: deque[Letter] = deque()
        self._lost: dict[str, None] = {}  # in order, each once
        self._refused: set[str] = set()
        self._changed = threading.Condition()
        self._hurry = self._closed = self._unavailable = False
        self._failures = 0
        threading.Thread(target=self._work, name=f"outbox to {recipient}", daemon=True).start()

    def put(self, what: str, send: Callable[[], None]) -> None:
        """Deliver this after the letters that wait, unless a letter of that name waits.

        send: raises Refused if it must not be retried, and any other exception if it must.
        """
        with self._changed:
            if any(each.what == what for each in self._letters):
                return
            if len(self._letters) < self._most:
                self._letters.append(Letter(what, send))
            else:
                self._lost[what] = None

    def flush(self, seconds: float, *, insist: bool = False) -> bool:
        """Deliver now, and return whether all letters were delivered.

        Wait at most `seconds`; unless `insist`, for one attempt only.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            failures = self._failures
            while self._letters and (insist or self._failures == failures) and (left := deadline - time.monotonic()) > 0:
                self._hurry = True
                self._changed.notify_all()
                self._changed.wait(left)
            return not self._letters

    def close(self, seconds: float, *, insist: bool = False) -> list[str]:
        """Flush and stop. Return the names of letters that were not delivered; refused ones have been logged already."""
        self.flush(seconds, insist=insist)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return [*self._lost, *(each.what for each in self._letters)]

    def _work(self) -> None:
        while not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._hurry or self._closed, self._pause)
                self._hurry = False
            delivered = self._deliver()
            with self._changed:
                self._failures += not delivered
                self._pause = self._every if delivered else min(MAX_PAUSE_SECONDS, 2 * self._pause)
                self._changed.notify_all()
                if not delivered:
                    self._changed.wait_for(lambda: self._closed, self._shortest_pause)

    def _deliver(self) -> bool:
        """Send the letters in order. Return False at the first failure."""
        while self._letters and not self._closed:
            letter = self._letters[0]
            try:
                _send(letter)
            except Refused as error:
                self._note_refusal(letter.what, error)
            except Exception as error:  # noqa: BLE001 - any error of a client becomes a warning and must not end the training
                self._note_failure(error)
                return False
            with self._changed:
                self._letters.popleft()
            self._note_success()
        return True

    def _note_refusal(self, what: str, error: Refused) -> None:
        if what not in self._refused:
            log.warning("%s rejects %s: %s", self._recipient, what, error)
        self._refused.add(what)

    def _note_failure(self, error: Exception) -> None:
        if not self._unavailable:
            log.warning("%s is unavailable; the training continues, and data are sent later: %s", self._recipient, error)
        self._unavailable = True

    def _note_success(self) -> None:
        if self._unavailable:
            log.info("%s is available again, and gets the data that it missed", self._recipient)
        self._unavailable = False


def _send(letter: Letter) -> None:
    try:
        letter.send()
    except ConnectionResetError:  # the recipient may have just closed an idle connection
        letter.send()
