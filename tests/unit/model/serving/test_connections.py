"""Limits of a connection that uvicorn does not have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from time import process_time
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from model.serving import connections
from model.serving.connections import MAX_HEAD_BYTES, MAX_UNREAD_SECONDS, ConnectionLimiter, RestConnection, connection_class
from tests.support.raw_http import Answer, answers, check_refusal

PATIENCE = 30.0
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.writes = 0
        self.aborted = False
        self.closed = asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += data
        self.writes += 1

    def close(self) -> None:
        self.closed.set()

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def abort(self) -> None:
        self.aborted = True
        self.closed.set()

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def answers(self) -> list[Answer]:
        return list(answers(self.written))


async def echo(_: Scope, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def not_found(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


def connect(
    *, keep_alive: float = PATIENCE, application: Any = echo, kind: type[RestConnection] = RestConnection
) -> tuple[RestConnection, Wire]:
    config = Config(application, lifespan="off", ws="none", log_config=None)
    config.timeout_keep_alive = keep_alive  # type: ignore[assignment]
    made, wire = kind(config, ServerState(), {}, asyncio.get_running_loop()), Wire()
    made.connection_made(wire)
    return made, wire


def run(test: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def within_patience() -> Any:
        async with asyncio.timeout(PATIENCE):
            return await test()

    return asyncio.run(within_patience())


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def test_a_response_is_sent_in_one_piece() -> None:
    async def test() -> None:
        made, wire = connect()
        made.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ntext")
        while not wire.written:
            await asyncio.sleep(0)

        assert [answer.body for answer in wire.answers()] == [b"text"]
        assert wire.writes == 1

    run(test)


def test_nothing_is_sent_to_a_client_that_leaves_at_the_same_moment() -> None:
    async def test() -> None:
        made, wire = connect()
        made.transport.write(b"too late")
        wire.close()
        await asyncio.sleep(0)

        assert wire.writes == 0

    run(test)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /" + b"a" * 2 * MAX_HEAD_BYTES, id="path"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 2 * MAX_HEAD_BYTES, id="one-header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * MAX_HEAD_BYTES, id="many-headers"),
        pytest.param(HEAD + b"2\r\nab\r\n0\r\n" + b"X: a\r\n" * MAX_HEAD_BYTES, id="trailers"),
        pytest.param(b"\r\n" * MAX_HEAD_BYTES, id="nothing-but-lines"),
    ],
)
def test_what_has_no_end_is_431(sent: bytes) -> None:
    async def test() -> list[Answer]:
        made, wire = connect()
        for piece in pieces(sent, 4096):
            made.data_received(piece)
            if wire.is_closing():
                return wire.answers()
        raise AssertionError("all of it was read")

    (refused,) = run(test)
    assert refused.status == 431
    check_refusal(refused)


@pytest.mark.parametrize("size", [pytest.param(1, id="byte-by-byte"), pytest.param(1 << 18, id="in-large-pieces")])
def test_a_body_is_as_long_as_it_is(size: int) -> None:
    body = b"x" * (MAX_HEAD_BYTES // size + 1_000)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in pieces(body, 7)) + b"0\r\n\r\n"

    async def test() -> list[Answer]:
        made, wire = connect()
        for piece in pieces((HEAD + chunks) * 2, size):
            made.data_received(piece)
            await asyncio.sleep(0)
        while len(wire.answers()) < 2:
            await asyncio.sleep(0.001)
        assert not wire.is_closing()
        return wire.answers()

    assert [each.body for each in run(test)] == [body] * 2


@pytest.mark.parametrize(
    ("bound", "sent"),
    [
        pytest.param("MAX_HEAD_SECONDS", [b"GET / HT"], id="head"),
        pytest.param("MAX_BODY_SECONDS", [HEAD, b"1\r\na\r\n"], id="body"),
    ],
)
def test_what_does_not_end_in_time_is_408(monkeypatch: pytest.MonkeyPatch, bound: str, sent: list[bytes]) -> None:
    monkeypatch.setattr(connections, bound, 0.01)

    async def test() -> list[Answer]:
        made, wire = connect()
        for piece in sent:
            made.data_received(piece)
        await wire.closed.wait()
        return wire.answers()

    (refused,) = run(test)
    assert refused.status == 408
    check_refusal(refused)


def test_a_body_that_is_not_needed_does_not_hold_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_BODY_SECONDS", 0.05)

    async def test() -> list[Answer]:
        made, wire = connect(application=not_found)
        made.data_received(HEAD)
        await wire.closed.wait()
        return wire.answers()

    assert [answer.status for answer in run(test)] == [404]


def test_what_ends_in_time_has_no_deadline_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_HEAD_SECONDS", 0.05)
    monkeypatch.setattr(connections, "MAX_BODY_SECONDS", 0.15)

    async def test() -> list[Answer]:
        made, wire = connect()
        made.data_received(HEAD[:9])
        made.data_received(HEAD[9:])
        await asyncio.sleep(0.1)
        made.data_received(b"1\r\na\r\n")
        made.data_received(b"0\r\n\r\n")
        await asyncio.sleep(0.1)
        return wire.answers()

    assert [each.status for each in run(test)] == [200]


def test_a_client_that_says_nothing_is_hung_up_on() -> None:
    async def test() -> bytes:
        _, wire = connect(keep_alive=0.01)
        await wire.closed.wait()
        return wire.written

    assert run(test) == b""


def test_a_client_that_leaves_leaves_no_timer() -> None:
    async def test() -> None:
        for sent in (b"", b"GET / HT"):
            made, wire = connect(keep_alive=0.01)
            if sent:
                made.data_received(sent)
            made.connection_lost(ConnectionResetError())
            await asyncio.sleep(0.03)
            assert not wire.is_closing()

    run(test)


# What the JDK's HttpClient sends with every request, and curl with --http2.
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


def post(body: bytes, *, headers: bytes = UPGRADE, version: bytes = b"1.1") -> bytes:
    return b"POST /a HTTP/%s\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (version, headers, len(body), body)


def post_in_chunks(body: bytes, *, headers: bytes = UPGRADE) -> bytes:
    head = b"POST /a HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n" % headers
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in pieces(body, 3)) + b"0\r\n\r\n"


async def answered(sent: bytes, size: int, count: int, application: Any = echo) -> Wire:
    """The wire once `count` answers were written to what was sent in pieces of `size` bytes."""
    made, wire = connect(application=application)
    for piece in pieces(sent, size):
        made.data_received(piece)
        await asyncio.sleep(0)
    while len(wire.answers()) < count:
        await asyncio.sleep(0.001)
    return wire


@pytest.mark.parametrize("size", [pytest.param(1, id="byte-by-byte"), pytest.param(1 << 18, id="in-one-piece")])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(UPGRADE, id="http2"),
        pytest.param(b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", id="websocket"),
        pytest.param(b"Connection: Upgrade\r\nUpgrade: TLS/1.3, a/1\r\nUpgrade: b/2\r\n", id="unknown-protocols"),
        pytest.param(UPGRADE + b"Expect: 100-continue\r\n", id="asking-whether-to-go-on"),
    ],
)
def test_a_request_that_offers_another_protocol_is_answered_in_this_one(headers: bytes, size: int) -> None:
    sent = post(b"one", headers=headers) + post_in_chunks(b"another", headers=headers) + post(b"") + post(b"last", headers=b"")

    wire = run(lambda: answered(sent, size, 4))

    assert [each.body for each in wire.answers()] == [b"one", b"another", b"", b"last"]
    assert not wire.is_closing()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(post(b"text", headers=b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n"), id="asked-to-close"),
        pytest.param(post(b"text", version=b"1.0"), id="http-1.0"),
    ],
)
def test_a_connection_that_is_to_close_is_closed_after_the_answer_to_an_offer(sent: bytes) -> None:
    async def test() -> Wire:
        wire = await answered(sent, 1 << 18, 1)
        await wire.closed.wait()
        return wire

    assert [each.body for each in run(test).answers()] == [b"text"]


async def tell_headers(scope: Scope, _: Receive, send: Send) -> None:
    content = b"\n".join(b"%s: %s" % each for each in scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


def test_every_header_of_an_offer_arrives_but_the_offer() -> None:
    wire = run(lambda: answered(post(b"text", headers=UPGRADE + b"X: \xff a, b\r\nx: c\r\n"), 7, 1, tell_headers))

    offered = b"connection: Upgrade, HTTP2-Settings\nhttp2-settings: AAEAAEAA\nx: \xff a, b\nx: c\n"
    assert [each.body for each in wire.answers()] == [b"host: x\n" + offered + b"content-length: 4"]


def test_many_offers_in_one_piece_are_each_read_once() -> None:
    """Not once for each of those before: in one turn of the event loop a connection delivers up to 256 KiB."""
    few, many = (post(b"", headers=b"Connection: Upgrade\r\nUpgrade: h2c\r\n") * count for count in (50, 2000))

    async def read(sent: bytes) -> float:
        made, wire = connect()
        started = process_time()
        made.data_received(sent)
        spent = process_time() - started
        assert not wire.is_closing()
        return spent

    a_few = min(run(lambda: read(few)) for _ in range(5))
    a_lot = min(run(lambda: read(many)) for _ in range(5))
    assert a_lot < 40 * 4 * a_few


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(post(b"text").replace(b"h2c", b"h2\0c"), id="value"),
        pytest.param(post(b"text") + b"no HTTP\r\n\r\n", id="what-follows"),
        pytest.param(post_in_chunks(b"text").replace(b"3\r\n", b"xyz\r\n", 1), id="chunk"),
        pytest.param(b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", id="connect"),
    ],
)
def test_an_offer_does_not_make_right_what_is_wrong(broken: bytes) -> None:
    async def test() -> list[Answer]:
        made, wire = connect()
        made.data_received(broken)
        await wire.closed.wait()
        return wire.answers()

    *_, refused = run(test)
    assert refused.status == 400
    check_refusal(refused)


@pytest.mark.parametrize("size", [pytest.param(1, id="byte-by-byte"), pytest.param(1 << 18, id="in-one-piece")])
def test_a_client_that_starts_with_http_2_gets_an_http_2_error(size: int) -> None:
    async def test() -> bytes:
        made, wire = connect()
        for piece in pieces(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), size):
            if not wire.is_closing():
                made.data_received(piece)
        await wire.closed.wait()
        return wire.written

    settings, goaway = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), run(test)[9:]
    assert run(test).startswith(settings)
    assert (int.from_bytes(goaway[:3], "big"), goaway[3], goaway[5:9]) == (len(goaway) - 9, 7, bytes(4))
    assert int.from_bytes(goaway[13:17], "big") == 13  # HTTP_1_1_REQUIRED
    assert goaway[17:] == b"This port speaks HTTP/1.1; gRPC has a port of its own."


def bounds(*, connections: int = 100, stalled_bytes: int = 10_000) -> type[RestConnection]:
    return connection_class(ConnectionLimiter(connections=connections, stalled_bytes=stalled_bytes, clock=time.monotonic))


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 6_000, id="head"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n" + b"x" * 6_000, id="body"),
    ],
)
def test_of_stalled_requests_that_hold_too_much_the_first_gets_an_error_and_is_closed(begun: bytes) -> None:
    async def test() -> None:
        kind = bounds()
        first, second = connect(kind=kind), connect(kind=kind)
        first[0].data_received(begun)
        assert not first[1].is_closing()
        second[0].data_received(begun)
        await asyncio.sleep(0)

        assert [each.status for each in first[1].answers()] == [408]
        check_refusal(first[1].answers()[0])
        assert first[1].is_closing()
        assert not second[1].is_closing()

    run(test)


def test_a_stalled_client_that_has_not_read_its_last_answer_is_cut_off() -> None:
    async def test() -> None:
        kind = bounds(stalled_bytes=1_000)
        made, wire = connect(kind=kind)
        made.data_received(HEAD + b"0\r\n\r\n")
        while not wire.written:  # which stays unsent, since the client does not read it
            await asyncio.sleep(0)
        said = wire.written
        made.data_received(b"GET / HTTP/1.1\r\nX: " + b"x" * 2_000)

        assert wire.aborted
        assert wire.written == said

    run(test)


def test_a_client_that_does_not_read_why_it_was_refused_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.serving.connections.CLOSING_SECONDS", 0.01)

    async def test() -> None:
        made, wire = connect()
        made.data_received(b"no HTTP\r\n\r\n")
        assert wire.is_closing()
        while not wire.aborted:
            await asyncio.sleep(0.005)

    run(test)


def test_a_connection_that_is_idle_gives_its_place_to_a_new_one() -> None:
    async def test() -> None:
        kind = bounds(connections=2)
        (old, old_wire), (_, idle_wire) = connect(kind=kind), connect(kind=kind)
        old.data_received(HEAD + b"0\r\n\r\n")
        while not old_wire.written:
            await asyncio.sleep(0)
        connect(kind=kind)

        assert idle_wire.is_closing()
        assert idle_wire.written == b""
        assert not old_wire.is_closing()

    run(test)


def test_a_connection_that_waits_for_its_answer_keeps_its_place_though_it_sends_more() -> None:
    async def never(_: Scope, __: Receive, ___: Send) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        kind = bounds(connections=1, stalled_bytes=100)
        made, wire = connect(kind=kind, application=never)
        made.data_received(HEAD + b"0\r\n\r\n" + b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000)
        _, newcomer = connect(kind=kind)
        await asyncio.sleep(0)

        assert not wire.is_closing()
        assert [each.status for each in newcomer.answers()] == [503]

    run(test)


def test_requests_one_after_the_other_on_one_connection_hold_nothing() -> None:
    async def test() -> None:
        made, wire = connect(kind=bounds(connections=1, stalled_bytes=500))
        sent = HEAD + b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n"
        for piece in pieces(sent * 50, 150):
            made.data_received(piece)
            await asyncio.sleep(0)
        while len(wire.answers()) < 50:
            await asyncio.sleep(0.001)

        assert not wire.is_closing()

    run(test)


class Clock:
    """Clock that only a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-6  # no two moments are the same
        return self.now


class Client:
    """A connection that knows what became of it."""

    def __init__(self, arrivals: ConnectionLimiter) -> None:
        self._arrivals = arrivals
        self.ended = self.turned_away = False
        arrivals.opened(self)

    def end_stalled(self) -> None:
        self.ended = True
        self._arrivals.closed(self)

    def turn_away(self) -> None:
        self.turned_away = True


def arrivals(*, connections: int = 3, stalled_bytes: int = 100, clock: Clock | None = None) -> ConnectionLimiter:
    return ConnectionLimiter(connections=connections, stalled_bytes=stalled_bytes, clock=clock or Clock())


def test_of_too_many_connections_the_one_that_has_stalled_for_longest_is_ended() -> None:
    made = arrivals()
    silent, slow, third = (Client(made) for _ in range(3))
    made.unfinished(slow, 1)
    made.unfinished(slow, 2)
    made.idle(silent)  # was answered just now

    fourth = Client(made)
    assert (silent.ended, slow.ended, third.ended) == (False, False, True)
    fifth = Client(made)
    assert (silent.ended, slow.ended) == (False, True)
    assert not fourth.ended
    assert not fifth.ended


def test_who_waits_for_an_answer_is_not_ended_and_who_comes_then_is_turned_away() -> None:
    made = arrivals()
    waiting = [Client(made) for _ in range(3)]
    for each in waiting:
        made.busy(each)

    newcomer = Client(made)
    assert newcomer.turned_away
    assert not any(each.ended for each in waiting)


def test_of_too_many_bytes_the_request_that_was_begun_first_is_ended() -> None:
    made = arrivals(connections=10)
    first, second, third = (Client(made) for _ in range(3))
    made.unfinished(first, 40)
    made.unfinished(second, 40)
    made.unfinished(first, 45)
    made.unfinished(third, 20)

    assert [each.ended for each in (first, second, third)] == [True, False, False]


def test_a_request_that_is_whole_takes_no_room_from_others() -> None:
    made = arrivals(connections=100)
    clients = [Client(made) for _ in range(20)]
    for each in clients:
        made.unfinished(each, 90)
        made.busy(each)

    assert not any(each.ended for each in clients)


def test_an_answer_may_be_left_unread_for_a_while_and_longer_while_there_is_room() -> None:
    clock = Clock()
    made = arrivals(connections=10, clock=clock)
    slow, slower = Client(made), Client(made)
    made.unread(slow, 80)
    made.unread(slower, 80)
    assert not slow.ended

    clock.now += MAX_UNREAD_SECONDS
    made.unread(Client(made), 1)
    assert (slow.ended, slower.ended) == (True, False)
    clock.now += 100 * MAX_UNREAD_SECONDS
    made.unread(Client(made), 1)
    assert not slower.ended
