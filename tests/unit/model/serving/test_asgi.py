"""Bodies within bounds, and clients that hang up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope

from model.serving import asgi
from model.serving.asgi import ClientGone, InFlightBytes, header, read_body, refuse, replay, respond, while_connected
from model.serving.errors import BodyTooLarge, TooManyBytesInFlight

PATIENCE = 30.0
GONE: Message = {"type": "http.disconnect"}
LIMIT = 10


def run(test: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def within_patience() -> Any:
        async with asyncio.timeout(PATIENCE):
            return await test()

    return asyncio.run(within_patience())


class Client:
    """Client whose messages arrive in order, then nothing until `hang_up`. Keeps what it receives."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.got: list[Message] = []
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        await self._gone.wait()
        return GONE

    async def send(self, message: Message) -> None:
        self.got.append(message)

    def hang_up(self) -> None:
        self._gone.set()


def scope(*headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "headers": list(headers)}


def parts(*contents: bytes) -> list[Message]:
    last = len(contents) - 1
    return [{"type": "http.request", "body": each, "more_body": at < last} for at, each in enumerate(contents)]


def read(messages: Sequence[Message], *headers: tuple[bytes, bytes], limit: int = LIMIT) -> bytes:
    async def test() -> bytes:
        return await read_body(scope(*headers), Client(*messages).receive, limit=limit, reservation=InFlightBytes(0).reserve())

    found: bytes = run(test)
    return found


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=4))
def test_a_body_arrives_whole_or_is_too_large(contents: list[bytes]) -> None:
    whole = b"".join(contents)
    if len(whole) <= LIMIT:
        assert read(parts(*contents)) == whole
        return
    with pytest.raises(BodyTooLarge, match="expected at most 10 bytes"):
        read(parts(*contents))


def test_a_message_may_say_only_its_type() -> None:
    assert read([{"type": "http.request"}]) == b""


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    async def test() -> None:
        client = Client(*parts(b"x" * 11))
        with pytest.raises(BodyTooLarge):
            await read_body(
                scope((b"content-length", b"11")), client.receive, limit=LIMIT, reservation=InFlightBytes(0).reserve()
            )
        assert client.messages

    run(test)


@pytest.mark.parametrize(
    "length",
    [
        pytest.param(b"10", id="as-long-as-it-may-be"),
        pytest.param(b"000010", id="zeros"),
        pytest.param(b"", id="empty"),
        pytest.param(b"-1", id="negative"),
        pytest.param("²".encode("latin-1"), id="another-digit"),
    ],
)
def test_a_length_that_says_nothing_bad_is_no_reason_to_refuse(length: bytes) -> None:
    assert read(parts(b"x" * 10), (b"content-length", length)) == b"x" * 10


def test_a_length_of_any_size_is_understood() -> None:
    with pytest.raises(BodyTooLarge):
        read(parts(b"x"), (b"content-length", b"9" * 5000))


def test_a_body_is_bounded_whatever_length_it_claims() -> None:
    with pytest.raises(BodyTooLarge):
        read(parts(b"x" * 6, b"x" * 6), (b"content-length", b"1"))


@given(st.lists(st.integers(0, 300), max_size=8))
def test_bodies_are_held_up_to_a_limit_and_given_back(sizes: list[int]) -> None:
    free, limit = asgi.UNCOUNTED_BYTES, 500
    in_flight, held = InFlightBytes(limit), 0
    with ExitStack() as reservations:
        for size in sizes:
            reservation = reservations.enter_context(in_flight.reserve())
            reservation.grow_to(free // 2)  # in two parts, as bodies arrive
            if held + size <= limit:
                reservation.grow_to(free + size)
                held += size
            else:
                with pytest.raises(TooManyBytesInFlight):
                    reservation.grow_to(free + size)
    with in_flight.reserve() as reservation:
        reservation.grow_to(free + limit)  # everything was given back


def test_small_bodies_find_room_however_much_is_held() -> None:
    in_flight = InFlightBytes(10)
    with in_flight.reserve() as large, in_flight.reserve() as small:
        large.grow_to(asgi.UNCOUNTED_BYTES + 10)
        small.grow_to(asgi.UNCOUNTED_BYTES)


def test_a_body_that_does_not_end_is_not_kept() -> None:
    async def test() -> int:
        read = 0

        async def receive() -> Message:
            nonlocal read
            read += 1
            return {"type": "http.request", "body": b"x", "more_body": True}

        with pytest.raises(BodyTooLarge):
            await read_body(scope(), receive, limit=LIMIT, reservation=InFlightBytes(0).reserve())
        return read

    assert run(test) == LIMIT + 1


def test_a_client_that_hangs_up_before_the_end_is_gone() -> None:
    with pytest.raises(ClientGone):
        read([*parts(b"x", b"y")[:1], GONE])


def test_a_body_read_is_received_once_more_and_then_what_comes() -> None:
    async def test() -> list[Message]:
        received: Receive = replay(b"whole", Client(GONE).receive)
        return [await received(), await received()]

    assert run(test) == [{"type": "http.request", "body": b"whole", "more_body": False}, GONE]


def test_a_header_is_found_by_its_name() -> None:
    headers = scope((b"a", b"1"), (b"b", "ü".encode("latin-1")), (b"a", b"2"))

    assert [header(headers, name) for name in (b"a", b"b", b"c")] == ["1", "ü", None]


# --- a client that hangs up while its answer is computed ------------------------------------------------------------


def test_the_result_of_the_work_is_given_to_a_client_that_waits() -> None:
    async def test() -> str:
        return await while_connected(Client().receive, asyncio.sleep(0, "done"))

    assert run(test) == "done"


def test_work_for_a_client_that_hangs_up_is_cancelled() -> None:
    async def test() -> list[str]:
        client, seen = Client(), []

        async def work() -> None:
            client.hang_up()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        with pytest.raises(ClientGone):
            await while_connected(client.receive, work())
        await asyncio.sleep(0)  # whoever asked goes on
        return seen

    assert run(test) == ["cancelled"]


def test_a_cancellation_by_another_is_not_taken_for_a_client_that_left() -> None:
    async def test() -> None:
        task = asyncio.create_task(while_connected(Client().receive, asyncio.Event().wait()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test)


def test_what_the_work_raises_is_raised() -> None:
    async def fail() -> None:
        raise LookupError("none")

    async def test() -> None:
        with pytest.raises(LookupError):
            await while_connected(Client().receive, fail())

    run(test)


def test_nothing_watches_once_the_work_is_done() -> None:
    async def test() -> set[Any]:
        await while_connected(Client().receive, asyncio.sleep(0))
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert run(test) == set()


def test_a_client_that_leaves_as_the_work_ends_does_no_harm() -> None:
    async def test() -> str:
        client = Client()

        async def work() -> str:
            await asyncio.sleep(0)
            client.hang_up()
            await asyncio.sleep(0)
            return "done"

        for _ in range(5):
            with suppress(ClientGone):
                await while_connected(client.receive, work())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return "still here"

    assert run(test) == "still here"


# --- responses ------------------------------------------------------------------------------------------------------


def test_a_response_says_how_long_it_is() -> None:
    async def test() -> list[Message]:
        client = Client()
        await respond(client.send, 200, b"body", {b"content-type": b"text/plain"})
        return client.got

    assert run(test) == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"4"), (b"content-type", b"text/plain")],
        },
        {"type": "http.response.body", "body": b"body"},
    ]


def test_whoever_is_refused_may_send_to_the_end_before_the_connection_closes() -> None:
    async def test() -> None:
        client = Client(*parts(b"x", b"y", b"z"))
        await refuse(client.receive, client.send, 413, b"no", {})

        assert client.messages == []
        assert client.got[0]["status"] == 413
        assert (b"connection", b"close") in client.got[0]["headers"]
        assert b"".join(each.get("body", b"") for each in client.got[1:]) == b"no"
        assert not client.got[-1].get("more_body")

    run(test)


def test_whoever_is_refused_and_goes_on_sending_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "LINGER_SECONDS", 0.01)

    async def test() -> list[Message]:
        client = Client(*parts(b"x", b"y")[:1])
        await refuse(client.receive, client.send, 413, b"no", {})
        return client.got

    assert not run(test)[-1].get("more_body")
