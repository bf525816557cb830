"""One HTTP exchange, whatever is asked: a body within bounds, a client that may hang up, a response."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Self, TypeVar

from starlette.types import Message, Receive, Scope, Send

from model.serving.errors import BodyTooLarge, TooManyBytesInFlight

T = TypeVar("T")
NUMBER = re.compile(r"[0-9]+")
UNWATCHED_SECONDS = 0.05  # of waiting for an answer before it is worth its cost to see whether the client is still there
FREE_BYTES = 64 * 1024  # of each body, which the intake does not count
LINGER_SECONDS = 5  # for a client that is refused to stop sending; before, it would not read why


class ClientGone(Exception):
    """Nobody waits for the response."""


LARGEST_AT_ONCE = 4  # bodies of the largest size, or messages, that are held at a time


class Intake:
    """Bounds the bytes of bodies that are held at a time, from their arrival to their answers.

    The first of each body are free, so that large requests, or such as never end, take no room from small ones.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def share(self) -> Share:
        """A share of it, of nothing yet; to be entered."""
        return Share(self)

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises TooManyBytesInFlight."""
        if self._held + size > self._limit:
            raise TooManyBytesInFlight
        self._held += size

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        self._held -= size


class Share:
    """What one request holds of the intake; given back when it is left."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._intake.give_back(self._held)

    def grow_to(self, size: int) -> None:
        """Hold a body of so many bytes. Raises TooManyBytesInFlight."""
        if size > FREE_BYTES:
            self._intake.take(size - FREE_BYTES - self._held)
            self._held = size - FREE_BYTES


class _Interruption:
    """Lets a timer, or a task begun by one, interrupt the current task as long as this is entered.

    What `asyncio.timeout` and a task would do, for a fraction of their cost in the many cases where nothing happens.
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
        """What to raise for a cancellation: what was meant by it, if it was made here."""
        if not self._made:
            return cancelled
        if self._interrupted is not None:
            self._interrupted.uncancel()
        return meant


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a header, by its name in lower case; the first, where there are several."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


async def read_body(scope: Scope, receive: Receive, *, limit: int, share: Share) -> bytes:
    """The whole body, of at most `limit` bytes. Raises BodyTooLarge, TooManyBytesInFlight, ClientGone."""
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
        share.grow_to(size)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """What an application receives that is handed a body already read."""
    waiting = [body]

    async def received() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return received


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """The result of the work, which is cancelled if the client hangs up meanwhile. Raises ClientGone then."""
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
    """A whole response."""
    await _start(send, status, content, headers)
    await send({"type": "http.response.body", "body": content})


async def refuse(receive: Receive, send: Send, status: int, content: bytes, headers: Mapping[bytes, bytes]) -> None:
    """A whole response while the request's body is still coming in; the connection is closed.

    What comes in is thrown away for a while: most clients read only once they have sent.
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
