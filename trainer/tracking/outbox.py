"""Tell another system in the background: in order, once it answers, and without holding up who has something to tell.

Knows neither what is told nor to whom. What cannot be delivered costs a warning; the caller never waits but when it asks to,
and then for a bounded time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds between two deliveries, so that what comes in between goes together
LONGEST_PAUSE = 60.0  # between two attempts, while nobody answers
SHORTEST_PAUSE = 1.0  # even where somebody waits for the delivery
MOST = 1_000


class Refused(Exception):
    """The other side answers, and will not take this however often it is sent."""


@dataclass(frozen=True)
class Letter:
    """What is to be delivered: its name in a warning, and how to; to send one twice must do no harm."""

    what: str
    send: Callable[[], None]


class Outbox:
    """Letters to one recipient. Any thread may put; a thread of its own sends."""

    def __init__(self, recipient: str, *, every: float = EVERY, shortest_pause: float = SHORTEST_PAUSE, most: int = MOST) -> None:
        """recipient: as warnings name it, without credentials. every: seconds between deliveries. most: letters that may wait."""
        self._recipient = recipient
        self._every = self._pause = every
        self._shortest_pause = shortest_pause
        self._most = most
        self._letters: deque[Letter] = deque()
        self._lost: dict[str, None] = {}  # in order, each once
        self._refused: set[str] = set()
        self._changed = threading.Condition()
        self._hurry = self._closed = self._away = False
        self._failures = 0
        threading.Thread(target=self._work, name=f"outbox to {recipient}", daemon=True).start()

    def put(self, what: str, send: Callable[[], None]) -> None:
        """Deliver this after what is waiting; a letter of that name that waits already stands for both.

        send: raises Refused if it is never to be tried again, and anything else if it is.
        """
        with self._changed:
            if any(each.what == what for each in self._letters):
                return
            if len(self._letters) < self._most:
                self._letters.append(Letter(what, send))
            else:
                self._lost[what] = None

    def flush(self, seconds: float, *, insist: bool = False) -> bool:
        """Deliver now; returns whether nothing is left.

        It waits at most so many seconds, and, unless it is to insist, for no second attempt.
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
        """Flush and stop; returns what was not delivered, but for what was refused, of which warnings have told."""
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
                self._pause = self._every if delivered else min(LONGEST_PAUSE, 2 * self._pause)
                self._changed.notify_all()
                if not delivered:
                    self._changed.wait_for(lambda: self._closed, self._shortest_pause)

    def _deliver(self) -> bool:
        """Send what waits, until it fails; returns whether it did not."""
        while self._letters and not self._closed:
            letter = self._letters[0]
            try:
                _send(letter)
            except Refused as error:
                self._note_refusal(letter.what, error)
            except Exception as error:  # noqa: BLE001 - whatever a client raises costs a warning, never the training
                self._unanswered(error)
                return False
            with self._changed:
                self._letters.popleft()
            self._answered()
        return True

    def _note_refusal(self, what: str, error: Refused) -> None:
        if what not in self._refused:
            log.warning("%s does not take %s: %s", self._recipient, what, error)
        self._refused.add(what)

    def _unanswered(self, error: Exception) -> None:
        if not self._away:
            log.warning("%s is away, which does not hold up the training; it is told later: %s", self._recipient, error)
        self._away = True

    def _answered(self) -> None:
        if self._away:
            log.info("%s answers again, and is told what it has missed", self._recipient)
        self._away = False


def _send(letter: Letter) -> None:
    try:
        letter.send()
    except ConnectionResetError:  # the other side closes connections that were idle, perhaps at this very moment
        letter.send()
