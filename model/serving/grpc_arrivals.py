"""Arrival of gRPC messages: only a few are read at the same time.

gRPC holds a message until it is complete, and its library counts no bytes. But a client may send only a small window of a message
before the server asks for it. So the server asks for a message only when a reader is free. Clients take turns. While they wait, a
message that arrives slowly is refused, the sooner the more clients wait: so clients that stall cannot exclude others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from grpc import aio

from model.serving.errors import TooManyBytesInFlight, error_response

MAX_SECONDS = 60  # in which a message must arrive, if no other client waits
MAX_SECONDS_WAITED_FOR = 1.0  # the same if another client waits; divided by the number of clients that wait
CHECK_SECONDS = 0.05  # between two checks; a message has at least two, so that a busy event loop refuses none that has arrived
MAX_WAITING = 2048  # calls that wait for a reader
WINDOW_BYTES = 16 * 1024  # that gRPC accepts of a message which is not read yet


class ArrivalLimiter:
    """Limit of the messages that are read at the same time. readers: their number."""

    def __init__(self, *, readers: int) -> None:
        self._free = readers
        self._reading: dict[Any, int] = {}  # contexts of the calls, and the checks that each has seen; the first began first
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by client; the first one's turn is next
        self._checking: asyncio.TimerHandle | None = None
        self._refusals: set[asyncio.Task[None]] = set()

    async def read(self, context: Any) -> Any:
        """Return the next message of a call, or `aio.EOF`. Raises TooManyBytesInFlight if too many calls wait.

        The call of a message that arrives too slowly is ended with the same error.
        """
        if not self._free:
            await self._turn(context.peer())
        else:
            self._free -= 1
        self._reading[context] = 0
        if self._checking is None:
            self._check_later()
        try:
            return await context.read()
        finally:
            del self._reading[context]
            self._release()

    async def _turn(self, client: str) -> None:
        """Wait until a reader is free for this client, and take it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        if sum(map(len, self._waiting.values())) > MAX_WAITING:
            longest = max(self._waiting, key=lambda each: len(self._waiting[each]))
            refused = self._next_of(longest)
            if not refused.done():
                refused.set_exception(TooManyBytesInFlight())
        try:
            await turn
        except asyncio.CancelledError:  # the client has left
            if turn in self._waiting.get(client, ()):
                self._forget(client, turn)
            elif not turn.cancelled() and turn.exception() is None:
                self._release()
            raise

    def _release(self) -> None:
        """Give a reader to the client whose turn is next."""
        while self._waiting:
            turn = self._next_of(next(iter(self._waiting)))
            if not turn.done():  # else its client has left just now
                turn.set_result(None)
                return
        self._free += 1

    def _next_of(self, client: str) -> asyncio.Future[None]:
        """Remove a client's first call from those that wait; its other calls are behind those of all other clients."""
        calls = self._waiting.pop(client)
        call = calls.popleft()
        if calls:
            self._waiting[client] = calls
        return call

    def _forget(self, client: str, call: asyncio.Future[None]) -> None:
        self._waiting[client].remove(call)
        if not self._waiting[client]:
            del self._waiting[client]

    def _check_later(self) -> None:
        self._checking = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)

    def _check(self) -> None:
        """Refuse the messages that have taken too long; check again as long as any is read."""
        seconds = MAX_SECONDS_WAITED_FOR / len(self._waiting) if self._waiting else MAX_SECONDS
        self._checking = None
        if self._reading:
            self._check_later()
        for context, checks in self._reading.items():
            self._reading[context] = checks + 1
            if checks >= max(1, seconds / CHECK_SECONDS):
                refusal = asyncio.create_task(_refuse(context))
                self._refusals.add(refusal)
                refusal.add_done_callback(self._refusals.discard)


async def _refuse(context: Any) -> None:
    """End a call whose message is still being read; the read then raises AbortError."""
    failure = error_response(TooManyBytesInFlight())
    with suppress(aio.BaseError):  # `abort` always raises one; another one if the call has ended meanwhile
        await context.abort(failure.grpc_code, failure.sentence)
