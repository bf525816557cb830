"""ASGI input and output: reading limited bodies, noticing closed connections, sending responses. Knows only HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Self, TypeVar

from starlette.types import Message, Receive, Scope, Send

from model.serving.errors import BodyTooLarge, TooManyBytesInFlight

T = TypeVar("T")
NUMBER = re.compile(r"[0-9]+")
UNWATCHED_SECONDS = 0.05  # seconds of work before the connection is watched: watching costs time, and most work ends sooner
UNCOUNTED_BYTES = 64 * 1024  # first bytes of each body, which are not counted here: `connections` counts them
LINGER_SECONDS = 5  # seconds in which a refused client may finish sending: most clients read the response only then


class ClientGone(Exception):
    """The client closed the connection before the response."""


MAX_BODIES_IN_FLIGHT = 4  # bodies or gRPC messages of maximum size


class InFlightBytes:
    """Limit of the bytes of all bodies, from their arrival to their responses.

    The first UNCOUNTED_BYTES of each body do not count, so that large or endless bodies cannot exclude small ones.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def reserve(self) -> Reservation:
        """Return an empty reservation, a context manager."""
        return Reservation(self)

    def acquire(self, size: int) -> None:
        """Add bytes. Raises TooManyBytesInFlight."""
        if self._held + size > self._limit:
            raise TooManyBytesInFlight
        self._held += size

    def release(self, size: int) -> None:
        """Subtract bytes."""
        self._held -= size


class Reservation:
    """Bytes in flight of one request, released on exit."""

    def __init__(self, in_flight: InFlightBytes) -> None:
        self._in_flight = in_flight
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._in_flight.release(self._held)

    def grow_to(self, size: int) -> None:
        """Reserve the bytes of a body of this size. Raises TooManyBytesInFlight."""
        if size > UNCOUNTED_BYTES:
            self._in_flight.acquire(size - UNCOUNTED_BYTES - self._held)
            self._held = size - UNCOUNTED_BYTES


class _Interruption:
    """Context manager in which a timer, or a task that the timer starts, may cancel the current task.

    Equal to `asyncio.timeout` with a task, at a fraction of the cost if nothing happens, as in most requests.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._interrupted = asyncio.current_task(self._loop)
        self._made = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> _Interruption:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self._timer = self._loop.call_later(seconds, act)

    def start(self, work: Coroutine[None, None, None]) -> None:
        self._task = self._loop.create_task(work)

    def interrupt(self) -> None:
        self._made = True
        if self._interrupted is not None:
            self._interrupted.cancel()

    def instead_of(self, cancelled: asyncio.CancelledError, meant: Exception) -> BaseException:
        """Return the exception to raise for a cancellation: `meant` if this object made it, else the cancellation."""
        if not self._made:
            return cancelled
        if self._interrupted is not None:
            self._interrupted.uncancel()
        return meant


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a header, by its name in lower case."""
    value = dict(reversed(scope["headers"])).get(name)  # a search by a generator takes ten times as long
    return None if value is None else value.decode("latin-1")


async def read_body(scope: Scope, receive: Receive, *, limit: int, reservation: Reservation) -> bytes:
    """Return the whole body, of at most `limit` bytes. Raises BodyTooLarge, TooManyBytesInFlight, ClientGone."""
    declared = header(scope, b"content-length")
    if declared is not None and NUMBER.fullmatch(declared) and (len(declared) > 18 or int(declared) > limit):
        raise BodyTooLarge(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise BodyTooLarge(limit)
        if size > UNCOUNTED_BYTES:
            reservation.grow_to(size)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that yields a body which was already read."""
    waiting = [body]

    async def received() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return received


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """Return the result of the work. If the client closes the connection meanwhile, cancel the work and raise ClientGone."""
    with _Interruption() as gone:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.interrupt()

        gone.after(UNWATCHED_SECONDS, lambda: gone.start(watch()))
        try:
            return await work
        except asyncio.CancelledError as error:
            raise gone.instead_of(error, ClientGone()) from None


async def respond(send: Send, status: int, content: bytes, headers: Mapping[bytes, bytes]) -> None:
    """Send a whole response."""
    await _start(send, status, content, headers)
    await send({"type": "http.response.body", "body": content})


async def refuse(receive: Receive, send: Send, status: int, content: bytes, headers: Mapping[bytes, bytes]) -> None:
    """Send a whole response while the request's body still arrives, then close the connection.

    The rest of the body is discarded for LINGER_SECONDS: most clients read a response only after they have sent everything.
    """
    await _start(send, status, content, {**headers, b"connection": b"close"})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body"})


async def _start(send: Send, status: int, content: bytes, headers: Mapping[bytes, bytes]) -> None:
    raw = [(b"content-length", b"%d" % len(content)), *headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
