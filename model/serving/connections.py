"""REST connections: uvicorn's protocol with limits on the time and the bytes that clients may occupy.

`ConnectionLimiter` limits all connections together: their number, and the bytes of unfinished requests and unread responses.
Beyond a limit, it closes the connection that has stalled longest, so stalled clients cannot exclude others. `RestConnection`
limits one connection: bytes and seconds of a request's head, seconds of its body. Refusals are the protocol's JSON errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from model.serving.asgi import UNCOUNTED_BYTES

MAX_UNREAD_SECONDS = 5  # a connection whose response is unread for longer may be closed to make room


class LimitedConnection(Protocol):
    """Connection that `ConnectionLimiter` may close."""

    def end_stalled(self) -> None:
        """Close the connection, to make room for others."""

    def turn_away(self) -> None:
        """Close the new connection, because there is no room for it."""


class ConnectionLimiter:
    """Limit of the connections, and of the bytes of their unfinished requests and unread responses.

    A connection that waits for its response is never closed. One that is idle between requests counts as stalled and may be
    closed: HTTP clients connect again.
    """

    def __init__(self, *, connections: int, stalled_bytes: int, clock: Callable[[], float]) -> None:
        self._max_connections = connections
        self._max_bytes = stalled_bytes
        self._clock = clock
        self._connected = 0
        self._bytes = 0
        # Start time of each connection's state, oldest first, and its bytes. A connection is in at most one of them.
        self._idle: dict[LimitedConnection, float] = {}
        self._unfinished: dict[LimitedConnection, tuple[float, int]] = {}
        self._unread: dict[LimitedConnection, tuple[float, int]] = {}

    def opened(self, connection: LimitedConnection) -> None:
        """Add a new connection. If there are too many, close the one that has stalled longest, else the new one."""
        self._connected += 1
        if self._connected > self._max_connections and not self._end_one():
            connection.turn_away()
        self._idle[connection] = self._clock()

    def closed(self, connection: LimitedConnection) -> None:
        """Remove a connection."""
        self._connected -= 1
        self.busy(connection)

    def busy(self, connection: LimitedConnection) -> None:
        """Mark that its request is complete and waits for the response, or that its response was read."""
        if self._idle.pop(connection, None) is None and (self._unfinished or self._unread):
            for stalled in (self._unfinished, self._unread):
                if connection in stalled:
                    self._bytes -= stalled.pop(connection)[1]

    def idle(self, connection: LimitedConnection) -> None:
        """Mark that its response was sent and that it has no other request."""
        self.busy(connection)
        self._idle[connection] = self._clock()

    def unfinished(self, connection: LimitedConnection, size: int) -> None:
        """Mark that its request is unfinished. size: bytes of it so far."""
        self._idle.pop(connection, None)
        since, before = self._unfinished.get(connection) or (self._clock(), 0)
        self._unfinished[connection] = since, size
        self._bytes += size - before
        self._make_room()

    def unread(self, connection: LimitedConnection, size: int) -> None:
        """Mark that its client has not read its response. size: unread bytes."""
        self.busy(connection)
        self._unread[connection] = self._clock(), size
        self._bytes += size
        self._make_room()

    def _make_room(self) -> None:
        while self._bytes > self._max_bytes and (self._end_unread() or self._end_first(self._unfinished)):
            pass

    def _end_one(self) -> bool:
        """Close the connection that has stalled longest. Return False if there is none."""
        idle, unfinished = next(iter(self._idle.values()), None), next(iter(self._unfinished.values()), None)
        if idle is not None and (unfinished is None or idle <= unfinished[0]):
            return self._end_first(self._idle)
        return self._end_first(self._unfinished) or self._end_unread()

    def _end_unread(self) -> bool:
        oldest = next(iter(self._unread.values()), None)
        return oldest is not None and oldest[0] <= self._clock() - MAX_UNREAD_SECONDS and self._end_first(self._unread)

    def _end_first(self, stalled: dict[LimitedConnection, float] | dict[LimitedConnection, tuple[float, int]]) -> bool:
        connection = next(iter(stalled), None)
        if connection is None:
            return False
        self.busy(connection)
        connection.end_stalled()
        return True


MAX_HEAD_BYTES = 64 * 1024  # bytes of a request's line and headers
MAX_HEAD_SECONDS = 60  # seconds in which the head must arrive
MAX_BODY_SECONDS = 60  # seconds in which the whole body must arrive
CLOSING_SECONDS = 5  # seconds in which a client may read the error before the connection is closed


def _frame(kind: int, payload: bytes) -> bytes:
    """Return an HTTP/2 frame for the connection as a whole (stream 0)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + payload


# For a client that starts with HTTP/2: empty SETTINGS, and GOAWAY with HTTP_1_1_REQUIRED.
NO_HTTP_2 = _frame(4, b"") + _frame(7, bytes(7) + b"\x0d" + b"This port speaks HTTP/1.1; gRPC has a port of its own.")


class _CoalescingTransport:
    """Transport that sends everything written in one turn of the event loop at once: a response's head and its body.

    uvicorn writes them separately, and each system call takes half as long as the rest of a request.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        written, self._written = b"".join(self._written), []
        if written and not self._transport.is_closing():  # the client may have left since
            self._transport.write(written)


class RestConnection(HttpToolsProtocol):
    """uvicorn's protocol with limits for heads (bytes and seconds), bodies (seconds), trailers and the first request.

    A request that offers another protocol (`Upgrade`) is answered in HTTP/1.1, as RFC 9110, 7.8 allows. The JDK's HttpClient
    offers HTTP/2 with every request.
    """

    arrivals: ConnectionLimiter | None = None  # shared by all connections; None: no limit
    _counted = 0  # bytes of the unfinished request, as reported to the limiter
    _offers = False  # the current request offers another protocol: the parser has stopped before its body
    _unread = 0  # bytes of an unfinished head or of trailers so far
    _in_body = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", _CoalescingTransport(transport, self.loop))
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if self.arrivals:
            self.arrivals.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        if self.arrivals:
            self.arrivals.closed(self)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            if self.parser.get_method() == b"PRI" and not self.transport.is_closing():
                self._end_deadline()
                self.transport.write(NO_HTTP_2)
                self.transport.close()
            self.send_400_response("")  # does nothing if the connection was closed above
        if self._unread > MAX_HEAD_BYTES:
            sentence = f"The headers are too large: expected at most {MAX_HEAD_BYTES} bytes."
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentence)
        elif self._deadline is None and (self._unread or self._in_body):
            seconds = MAX_BODY_SECONDS if self._in_body else MAX_HEAD_SECONDS
            self._deadline = self.loop.call_later(seconds, self._too_slow, seconds)
        if self.arrivals and (self._unread or self._in_body or self._counted):
            self._count(self.arrivals, len(data))

    def on_headers_complete(self) -> None:
        self._unread, self._in_body = 0, True
        self._end_deadline()
        self._offers = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._offers:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offers:
            return  # its body is still to be read
        self._unread, self._in_body = 0, False
        self._end_deadline()
        super().on_message_complete()
        if self.arrivals:
            self._counted = 0
            self.arrivals.busy(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.arrivals and self.cycle.response_complete:
            if self._unread or self._in_body:
                self._count(self.arrivals, self._unread)
            else:
                self.arrivals.idle(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.arrivals:
            self.arrivals.unread(self, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.arrivals:
            self.arrivals.busy(self)
            if self.cycle is None or self.cycle.response_complete:
                self.arrivals.idle(self)

    def end_stalled(self) -> None:
        """Close the connection, with an error if its request is unfinished and has no response yet."""
        answered = self.cycle is not None and self.cycle.response_started
        unsent = self.transport.get_write_buffer_size()  # if any, the error would wait behind it
        if not unsent and (self._unread or (self._in_body and not answered)):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request took too long, and its connection is needed for others.")
        else:
            self.transport.abort()

    def turn_away(self) -> None:
        """Close the connection with an error, because all others wait for responses."""
        self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many clients are waiting. Retry in 1 s.")

    def _count(self, arrivals: ConnectionLimiter, size: int) -> None:
        """Count the received bytes of an unfinished request, unless an earlier request still waits for its response."""
        waits = self.cycle is not None and not self.cycle.response_complete
        if self._in_body or (self._unread and not waits):
            self._counted = min(UNCOUNTED_BYTES, self._counted + size)  # the rest of a body is counted by InFlightBytes
            arrivals.unfinished(self, self._counted)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002, replaces uvicorn's message
        self._refuse(HTTPStatus.BAD_REQUEST, "The request cannot be read: expected HTTP/1.1.")

    def _parse(self, data: bytes) -> None:
        """Parse received data. A request that offers another protocol is parsed again without the offer."""
        unparsed = memoryview(data)
        while unparsed:
            try:
                self.parser.feed_data(unparsed)
            except httptools.HttpParserUpgrade as upgrade:
                if not self._offers:
                    return
                unparsed = unparsed[upgrade.args[0] :]
                head = self._head_without_offer()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
                self.parser.feed_data(head)
            else:
                return

    def _head_without_offer(self) -> bytes:
        """Return the current request's line and headers as they were parsed, without `Upgrade`."""
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % each for each in self.headers if each[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _too_slow(self, seconds: float) -> None:
        self._deadline = None
        if self._in_body and self.cycle is not None and self.cycle.response_started:
            self.transport.close()  # the response did not need the whole body
        elif self._in_body or self.cycle is None or self.cycle.response_complete:
            what = "body" if self._in_body else "head"
            sentence = f"The request's {what} took too long: expected all of it within {seconds} s."
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, sentence)
        # Else an earlier request still waits for its response, and this one need not be read until then.

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Send an error and close the connection, unless it is closing already."""
        self._end_deadline()
        if self.transport.is_closing():
            return
        content = orjson.dumps({"error": sentence})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(content)
        self.transport.write(STATUS_LINE[status] + head + content)
        self.transport.close()
        if self.transport.get_write_buffer_size():  # the client may never read it
            self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def connection_class(arrivals: ConnectionLimiter) -> type[RestConnection]:
    """Return a class of connections that share the limiter."""
    return type("BoundedConnection", (RestConnection,), {"arrivals": arrivals})
