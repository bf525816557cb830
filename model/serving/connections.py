"""REST connections: uvicorn's protocol with bounds on the time and the bytes that clients may hold.

`ConnectionLimiter` bounds all connections together: their number, and the bytes of unfinished requests and unread responses.
Beyond a bound, the connection that has stalled for longest is closed, so clients that stall cannot keep others out.
`Connection` bounds one: bytes and seconds of a request's head, seconds of its body. Refusals are the protocol's JSON errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_UNREAD_SECONDS = 5  # for which a client may leave an answer unread, whatever others hold


class LimitedConnection(Protocol):
    """A connection as this knows it."""

    def end_stalled(self) -> None:
        """End it: its place is needed."""

    def turn_away(self) -> None:
        """End it, which has just been made: there is no place."""


class ConnectionLimiter:
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
        self._idle: dict[LimitedConnection, float] = {}
        self._unfinished: dict[LimitedConnection, tuple[float, int]] = {}
        self._unread: dict[LimitedConnection, tuple[float, int]] = {}

    def opened(self, connection: LimitedConnection) -> None:
        """Note one that has been made; it, or the one that has stalled for longest, is ended where there are too many."""
        self._connected += 1
        if self._connected > self._most_connections and not self._end_one():
            connection.turn_away()
        self._idle[connection] = self._clock()

    def closed(self, connection: LimitedConnection) -> None:
        """Forget it."""
        self._connected -= 1
        self.busy(connection)

    def busy(self, connection: LimitedConnection) -> None:
        """Note that a request of it is whole, and waits for its answer; or that the answer is read."""
        self._idle.pop(connection, None)
        for held in (self._unfinished, self._unread):
            if connection in held:
                self._bytes -= held.pop(connection)[1]

    def idle(self, connection: LimitedConnection) -> None:
        """Note that it was answered, and has asked nothing more."""
        self.busy(connection)
        self._idle[connection] = self._clock()

    def unfinished(self, connection: LimitedConnection, size: int) -> None:
        """Note that so many bytes are held of its request, which is not whole."""
        self._idle.pop(connection, None)
        since, before = self._unfinished.get(connection) or (self._clock(), 0)
        self._unfinished[connection] = since, size
        self._bytes += size - before
        self._make_room()

    def unread(self, connection: LimitedConnection, size: int) -> None:
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
        return oldest is not None and oldest[0] <= self._clock() - MAX_UNREAD_SECONDS and self._end_first(self._unread)

    def _end_first(self, held: dict[LimitedConnection, float] | dict[LimitedConnection, tuple[float, int]]) -> bool:
        connection = next(iter(held), None)
        if connection is None:
            return False
        self.busy(connection)
        connection.end_stalled()
        return True


MAX_COUNTED_BYTES = 64 * 1024  # of an unfinished request; what a body has more is counted by `asgi.Intake`
MAX_HEAD_BYTES = 64 * 1024  # of a request's line and headers
MAX_HEAD_SECONDS = 60  # for them to arrive
MAX_BODY_SECONDS = 60  # for a whole body to arrive
CLOSING_SECONDS = 5  # for a client to read why it was refused


def _frame(kind: int, payload: bytes) -> bytes:
    """Return a frame of HTTP/2 about the whole connection."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + payload


# For a client that speaks HTTP/2 without an offer: SETTINGS, of which there are none, and GOAWAY because of HTTP_1_1_REQUIRED.
NO_HTTP_2 = _frame(4, b"") + _frame(7, bytes(7) + b"\x0d" + b"This port speaks HTTP/1.1; gRPC has a port of its own.")


class _CoalescingTransport:
    """A transport that sends what is written in one turn of the event loop at once: a response's head and its body.

    uvicorn writes them one after the other, and each system call takes as long as half of what else a request costs here.
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


class Connection(HttpToolsProtocol):
    """Bounds what uvicorn does not: heads, in bytes and seconds; bodies, in seconds; trailers; the wait for a first request.

    A request that offers another protocol (`Upgrade`) is answered in this one, as RFC 9110, 7.8 allows. The JDK's HttpClient
    offers HTTP/2 with every request.
    """

    arrivals: ConnectionLimiter | None = None  # of all connections; None where nothing is bounded
    _counted = 0  # bytes of the request that is not whole, as the arrivals know them
    _offers = False  # the current request offers another protocol: the parser has stopped before its body
    _unread = 0  # bytes since the last that were of use: those of an unfinished head, or of trailers
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
            self.send_400_response("")  # nothing, after this
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
        """Close it to make room; said to a client whose request is not whole and has not been answered yet."""
        answered = self.cycle is not None and self.cycle.response_started
        unsent = self.transport.get_write_buffer_size()  # behind which a refusal would wait for as long as its client likes
        if not unsent and (self._unread or (self._in_body and not answered)):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request took too long, and its place is needed by others.")
        else:
            self.transport.abort()

    def turn_away(self) -> None:
        """Close it: as many are connected as may be, and all of them wait for answers."""
        self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many clients wait for their answers. Ask again in 1 s.")

    def _count(self, arrivals: ConnectionLimiter, size: int) -> None:
        """Count what came of a request that is not whole, unless the answer to another is due first."""
        waits = self.cycle is not None and not self.cycle.response_complete
        if self._in_body or (self._unread and not waits):
            self._counted = min(MAX_COUNTED_BYTES, self._counted + size)
            arrivals.unfinished(self, self._counted)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002, uvicorn's words
        self._refuse(HTTPStatus.BAD_REQUEST, "The request cannot be read: expected HTTP/1.1.")

    def _parse(self, data: bytes) -> None:
        """Parse what came; a request that offers another protocol once more, without the offer."""
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
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
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
            self.transport.close()  # whose answer did not need all of the body
        elif self._in_body or self.cycle is None or self.cycle.response_complete:
            what = "body" if self._in_body else "head"
            sentence = f"The request's {what} took too long: expected all of it within {seconds} s."
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, sentence)
        # Else another request's answer is due first, and until then nothing more need be read.

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Say why, and close; nothing if that was done already."""
        self._end_deadline()
        if self.transport.is_closing():
            return
        content = orjson.dumps({"error": sentence})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(content)
        self.transport.write(STATUS_LINE[status] + head + content)
        self.transport.close()
        if self.transport.get_write_buffer_size():  # a client that reads nothing would keep its place for ever
            self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def connection_class(arrivals: ConnectionLimiter) -> type[Connection]:
    """Return the class of connections that are counted there."""
    return type("BoundedConnection", (Connection,), {"arrivals": arrivals})
