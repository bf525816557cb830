"""Who is connected, and what of their requests and answers is held though nothing moves.

Bounds both: beyond, the connection that has stalled for longest is ended. So a bound that is reached by clients that
stall keeps nobody else out. Knows no protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

UNREAD_SECONDS = 5  # for which a client may leave an answer unread, whatever others hold


class Stalling(Protocol):
    """A connection as this knows it."""

    def end_stalled(self) -> None:
        """End it: its place is needed."""

    def turn_away(self) -> None:
        """End it, which has just been made: there is no place."""


class Arrivals:
    """At most `connections` at a time, and `stalled_bytes` of requests that are not whole and of answers that nobody reads.

    A connection that waits for its answer is never ended. Those that are idle between requests are, like others that have
    not moved for as long: an HTTP client connects again.
    """

    def __init__(self, *, connections: int, stalled_bytes: int, clock: Callable[[], float]) -> None:
        self._most_connections = connections
        self._most_bytes = stalled_bytes
        self._clock = clock
        self._connected = 0
        self._bytes = 0
        # Since when, in order; and bytes of each. No connection is in two of them.
        self._idle: dict[Stalling, float] = {}
        self._unfinished: dict[Stalling, tuple[float, int]] = {}
        self._unread: dict[Stalling, tuple[float, int]] = {}

    def opened(self, connection: Stalling) -> None:
        """Note one that has been made; it, or the one that has stalled for longest, is ended where there are too many."""
        self._connected += 1
        if self._connected > self._most_connections and not self._end_one():
            connection.turn_away()
        self._idle[connection] = self._clock()

    def closed(self, connection: Stalling) -> None:
        """Forget it."""
        self._connected -= 1
        self.busy(connection)

    def busy(self, connection: Stalling) -> None:
        """Note that a request of it is whole, and waits for its answer; or that the answer is read."""
        self._idle.pop(connection, None)
        for held in (self._unfinished, self._unread):
            if connection in held:
                self._bytes -= held.pop(connection)[1]

    def idle(self, connection: Stalling) -> None:
        """Note that it was answered, and has asked nothing more."""
        self.busy(connection)
        self._idle[connection] = self._clock()

    def unfinished(self, connection: Stalling, size: int) -> None:
        """Note that so many bytes are held of its request, which is not whole."""
        self._idle.pop(connection, None)
        since, before = self._unfinished.get(connection) or (self._clock(), 0)
        self._unfinished[connection] = since, size
        self._bytes += size - before
        self._make_room()

    def unread(self, connection: Stalling, size: int) -> None:
        """Note that so many bytes of an answer wait for its client to read."""
        self.busy(connection)
        self._unread[connection] = self._clock(), size
        self._bytes += size
        self._make_room()

    def _make_room(self) -> None:
        while self._bytes > self._most_bytes and (self._end_unread() or self._end_first(self._unfinished)):
            pass

    def _end_one(self) -> bool:
        """End the connection that has stalled for longest; whether there was one."""
        idle, unfinished = next(iter(self._idle.values()), None), next(iter(self._unfinished.values()), None)
        if idle is not None and (unfinished is None or idle <= unfinished[0]):
            return self._end_first(self._idle)
        return self._end_first(self._unfinished) or self._end_unread()

    def _end_unread(self) -> bool:
        oldest = next(iter(self._unread.values()), None)
        return oldest is not None and oldest[0] <= self._clock() - UNREAD_SECONDS and self._end_first(self._unread)

    def _end_first(self, held: dict[Stalling, float] | dict[Stalling, tuple[float, int]]) -> bool:
        connection = next(iter(held), None)
        if connection is None:
            return False
        self.busy(connection)
        connection.end_stalled()
        return True
