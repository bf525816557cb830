"""Order in which messages are read. The calls are written by hand, because messages of real ones arrive at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from grpc import StatusCode, aio

from model.serving import grpc_arrivals
from model.serving.errors import TooManyBytesInFlight
from model.serving.grpc_arrivals import ArrivalLimiter


class Call:
    """Context of a call. Its message arrives with `arrive`; `abort` ends the read with an error, as gRPC does."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.is_read = False
        self.status: StatusCode | None = None
        self._message: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def peer(self) -> str:
        return self.client

    async def read(self) -> str:
        self.is_read = True
        return await self._message

    async def abort(self, code: StatusCode, details: str) -> None:
        self.status = code
        self._message.set_exception(aio.AbortError(details))
        raise aio.AbortError(details)

    def arrive(self) -> None:
        self._message.set_result(self.client)


async def turns() -> None:
    """Let all tasks go on until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def begin(limiter: ArrivalLimiter, *clients: str) -> tuple[list[Call], list[asyncio.Task[Any]]]:
    calls = [Call(each) for each in clients]
    reading = [asyncio.create_task(limiter.read(each)) for each in calls]
    await turns()
    return calls, reading


def test_a_message_is_not_read_before_a_reader_is_free() -> None:
    async def test() -> None:
        calls, reading = await begin(ArrivalLimiter(readers=2), "a", "b", "c")
        assert [each.is_read for each in calls] == [True, True, False]

        calls[1].arrive()

        assert await reading[1] == "b"
        await turns()
        assert calls[2].is_read
        calls[0].arrive()
        calls[2].arrive()
        assert await asyncio.gather(*reading) == ["a", "b", "c"]

    run(test())


def test_clients_take_turns_however_many_calls_one_has() -> None:
    async def test() -> None:
        calls, reading = await begin(ArrivalLimiter(readers=1), "a", "a", "a", "b")
        order = []
        while len(order) < len(calls):
            at = next(at for at, each in enumerate(calls) if each.is_read and at not in order)
            order.append(at)
            calls[at].arrive()
            await turns()

        assert order == [0, 1, 3, 2]
        await asyncio.gather(*reading)

    run(test())


def test_a_message_that_does_not_arrive_is_refused_once_others_wait() -> None:
    async def test() -> None:
        calls, reading = await begin(ArrivalLimiter(readers=1), "slow", *(f"client {at}" for at in range(20)))

        with pytest.raises(aio.AbortError):
            await reading[0]

        assert calls[0].status is StatusCode.RESOURCE_EXHAUSTED
        for call, read in zip(calls[1:], reading[1:], strict=True):
            call.arrive()
            assert await read == call.client

    run(test())


def test_of_too_many_calls_that_wait_one_of_the_client_with_the_most_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_arrivals, "MAX_WAITING", 3)

    async def test() -> None:
        calls, reading = await begin(ArrivalLimiter(readers=1), "a", "a", "a", "b", "c")

        with pytest.raises(TooManyBytesInFlight):
            await reading[1]

        for each in (calls[0], *calls[2:]):
            each.arrive()
        assert [await reading[at] for at in (0, 2, 3, 4)] == ["a", "a", "b", "c"]

    run(test())


def test_a_client_that_leaves_takes_no_turn_whether_it_waits_or_is_just_let_in() -> None:
    async def test() -> None:
        calls, reading = await begin(ArrivalLimiter(readers=1), "a", "b", "c", "d")
        reading[1].cancel()
        calls[0].arrive()
        await asyncio.sleep(0)  # "c" is let in, and does not know yet
        reading[2].cancel()
        await turns()

        assert [each.is_read for each in calls] == [True, False, False, True]
        calls[3].arrive()
        assert await reading[3] == "d"

    run(test())
