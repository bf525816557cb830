"""Corrections in a real Redis: batches that never change, leased to one flusher; bounds, a full memory, a clock set back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis.asyncio

from gateway.feedback.batches import MOST_ROWS, Batch, Batches
from gateway.feedback.held import Held, State
from gateway.feedback.intake import MOST_OF_A_TEXT, Accepted, FeedbackIntake, Outcome
from gateway.feedback.keys import BATCH, CORRECTION, CORRECTIONS_OF, HELD
from gateway.records.connections import for_worker
from tests.support.corrections import correction
from tests.support.gateway import config
from tests.support.redis import RedisProcess, redis_server

T = TypeVar("T")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


class Box:
    """Both sides of the held corrections."""

    def __init__(self, server: RedisProcess, folder: Path, **settings: Any) -> None:
        server.client.flushdb()
        self.server = server
        self.settings = config(folder, server.address, "http://127.0.0.1:1", flush_seconds=0, **settings)
        self.batches = Batches(for_worker(server.address), self.settings)

    def ask(self, question: Callable[[FeedbackIntake], Awaitable[T]]) -> T:
        async def run() -> T:
            async with redis.asyncio.from_url(self.server.address, decode_responses=True) as client:
                return await question(FeedbackIntake(client, self.settings))

        return asyncio.run(run())

    def send(self, *ids: str, text: str = "a text", of: str | None = None) -> list[Accepted]:
        async def all_of_them(intake: FeedbackIntake) -> list[Accepted]:
            rows = [correction(text, "cs.LG", id=each, comment=each) for each in ids]
            return [await intake.accept("papers", row, of=of or row.id) for row in rows]

        return self.ask(all_of_them)

    def read(self, correction_id: str) -> Held | None:
        return self.ask(lambda intake: intake.read(correction_id))

    def withdraw(self, correction_id: str) -> None:
        held = self.read(correction_id)
        assert held is not None
        assert self.ask(lambda intake: intake.withdraw(held))

    def state(self, correction_id: str) -> State:
        held = self.read(correction_id)
        assert held is not None
        return held.state

    def cut(self) -> Batch:
        batch = self.batches.cut("papers")
        assert batch is not None
        return batch

    def patient(self) -> Batches:
        """Batches of a flusher that waits for an hour."""
        return Batches(for_worker(self.server.address), self.settings.model_copy(update={"flush_seconds": 3600}))

    def end_lease(self) -> None:
        assert self.server.client.hdel(BATCH + "papers", "until") == 1


@pytest.fixture
def box(server: RedisProcess, tmp_path: Path) -> Box:
    return Box(server, tmp_path)


def test_a_batch_is_leased_to_one_flusher_and_stays_as_it_is_for_the_next(box: Box) -> None:
    box.send("a", "b")
    first = box.cut()
    box.send("c")
    assert box.batches.cut("papers") is None

    box.withdraw("a")
    box.end_lease()
    assert box.cut() == first
    assert [(row.id, row.withdrawn) for row in first.rows] == [("a", False), ("b", False)]


def test_of_two_flushers_with_one_batch_the_first_one_counts_it(box: Box) -> None:
    box.send("a", "b")
    first = box.cut()
    box.end_lease()
    second = box.cut()

    assert (box.batches.forget(first, "key"), box.batches.forget(second, "key")) == (2, None)
    box.send("c")
    following = box.cut()
    assert box.batches.forget(first, "key") is None
    assert box.batches.forget(following, "other") == 1


def test_a_batch_is_bounded_in_rows_and_bytes_and_has_at_least_one_row(box: Box) -> None:
    box.send(*(f"c{at:04}" for at in range(MOST_ROWS + 1)))
    assert [len(batch.rows) for batch in batches_of(box)] == [MOST_ROWS, 1]

    box.send("d1", "d2", "d3", text="x" * 3_000_000)
    assert [len(batch.rows) for batch in batches_of(box)] == [1, 1, 1]


def batches_of(box: Box) -> Iterator[Batch]:
    while (batch := box.batches.cut("papers")) is not None:
        box.batches.forget(batch, "key")
        yield batch


def test_few_rows_wait_for_others_and_many_do_not(server: RedisProcess, tmp_path: Path) -> None:
    box = Box(server, tmp_path)
    patient = box.patient()
    box.send(*(f"c{at:04}" for at in range(MOST_ROWS - 1)))
    assert patient.cut("papers") is None
    box.send("d")
    batch = patient.cut("papers")
    assert batch is not None
    assert len(batch.rows) == MOST_ROWS


def test_a_batch_that_could_not_be_stored_waits_for_a_while(box: Box) -> None:
    box.send("a")
    first = box.cut()
    box.batches.postpone(first, seconds=30)
    assert box.batches.cut("papers") is None
    box.batches.postpone(first, seconds=0)
    assert box.cut() == first


def test_a_clock_that_is_set_back_delays_nothing(box: Box) -> None:
    """The lease and the row were written by a clock that was two hours ahead."""
    box.send("a")
    first = box.cut()
    assert box.server.client.hincrby(BATCH + "papers", "until", 7_200_000)
    assert box.cut() == first
    box.batches.forget(first, "key")

    box.send("b")
    box.server.client.zincrby(HELD + "papers", 7_200_000, "b")
    assert box.patient().cut("papers") is not None


def test_a_withdrawal_is_never_older_than_its_correction(box: Box) -> None:
    box.send("a")
    box.batches.forget(box.cut(), "key")
    box.server.client.hincrby(CORRECTION + "a", "created", 7_200_000)
    box.withdraw("a")
    (row,) = box.cut().rows
    held = box.read("a")
    assert held is not None
    assert row.withdrawn
    assert held.withdrawn == held.created


def test_what_was_never_stored_leaves_no_text_when_it_is_withdrawn(box: Box) -> None:
    box.send("a")
    box.withdraw("a")
    assert box.state("a") is State.WITHDRAWN
    assert box.server.client.hget(CORRECTION + "a", "text") is None
    assert box.batches.cut("papers") is None


def test_records_are_kept_while_they_are_needed_and_for_the_retention_afterwards(box: Box) -> None:
    ttl = box.server.client.ttl
    box.send("a")
    assert ttl(CORRECTION + "a") == -1
    box.batches.forget(box.cut(), "key")
    assert ttl(CORRECTION + "a") > 0
    box.withdraw("a")
    assert ttl(CORRECTION + "a") == -1
    box.batches.forget(box.cut(), "key")
    assert ttl(CORRECTION + "a") > 0
    assert ttl(CORRECTIONS_OF + "a") > 0


def test_no_more_is_held_than_allowed_until_some_is_stored(server: RedisProcess, tmp_path: Path) -> None:
    box = Box(server, tmp_path, max_held_corrections=2)
    outcomes = [each.outcome for each in box.send("a", "b", "c")]
    assert outcomes == [Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.FULL]
    box.cut()
    assert [each.outcome for each in box.send("c")] == [Outcome.ACCEPTED]


def test_one_text_is_corrected_only_so_often(box: Box) -> None:
    outcomes = [each.outcome for each in box.send(*(f"c{at}" for at in range(MOST_OF_A_TEXT + 1)), of="one")]
    assert outcomes == [Outcome.ACCEPTED] * MOST_OF_A_TEXT + [Outcome.OFTEN]


def test_a_correction_that_is_sent_twice_because_its_answer_was_lost_is_one(box: Box) -> None:
    assert box.send("a") == box.send("a") == [Accepted(Outcome.ACCEPTED, "a")]
    assert box.batches.waiting()[0].rows == 1


def test_held_rows_are_stored_when_the_memory_of_redis_is_full(box: Box) -> None:
    box.send("a", "b")
    box.server.client.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            box.send("c")
        first = box.cut()
        box.end_lease()
        second = box.cut()
        box.batches.postpone(second, seconds=0)
        assert box.batches.forget(box.cut(), "key") == 2
    finally:
        box.server.client.config_set("maxmemory", "0")
    assert first == second
    assert box.state("a") is State.STORED


def test_what_is_held_is_counted_with_its_age(box: Box) -> None:
    box.send("a", "b")
    box.cut()
    box.send("c")
    box.server.client.hincrby(BATCH + "papers", "oldest", -60_000)
    (waiting,) = box.batches.waiting()
    assert (waiting.classifier, waiting.rows) == ("papers", 3)
    assert 60 <= waiting.oldest_seconds < 120
