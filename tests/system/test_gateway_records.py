"""Records of the gateway in a real Redis: accepted once, leased to one worker, answered once, bounded, erasable."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis.asyncio
from redis.exceptions import OutOfMemoryError

from gateway.records.connections import for_worker
from gateway.records.intake import Accepted, Intake, Outcome
from gateway.records.keys import HINTS, OPEN, TASK
from gateway.records.leases import MOST_HINTS, Leases
from gateway.records.record import Answer, Failure, Prediction, Record, State, Submission
from tests.support.gateway import config
from tests.support.redis import RedisProcess, redis_server

T = TypeVar("T")
ANSWER = Answer(version="v1", predictions=(Prediction(labels=("cs.LG",), scores=(0.9,), thresholds=(0.5,)),))
OTHER = Answer(version="v2", predictions=(Prediction(labels=(), scores=(), thresholds=()),))
FAILURE = Failure(status=422, kind="texts-refused", detail="The predictor refuses the texts.")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


class Books:
    """Both sides of the records."""

    def __init__(self, server: RedisProcess, folder: Path, **settings: Any) -> None:
        self.settings = config(folder, server.address, "http://127.0.0.1:1", **settings)
        self.server = server
        self.leases = Leases(for_worker(server.address), self.settings)

    def ask(self, question: Callable[[Intake], Awaitable[T]]) -> T:
        async def run() -> T:
            async with redis.asyncio.from_url(self.server.address, decode_responses=True) as client:
                return await question(Intake(client, self.settings))

        return asyncio.run(run())

    def accept(self, task_id: str = "a", *texts: str, key: str | None = None, owner: str = "anonymous") -> Accepted:
        submission = Submission("papers", texts or ("a text",), several=False, owner=owner, request_id="r")
        return self.ask(lambda intake: intake.accept(task_id, submission, idempotency_key=key))

    def read(self, task_id: str = "a") -> Record | None:
        return self.ask(lambda intake: intake.read(task_id))

    def let_time_pass(self, task_id: str = "a") -> None:
        """Let the task's lease, or its delay, be over."""
        assert self.server.client.zadd(OPEN, {task_id: 1}, xx=True, ch=True)

    def state(self, task_id: str = "a") -> State:
        record = self.read(task_id)
        assert record is not None
        return record.state


@pytest.fixture
def books(server: RedisProcess, tmp_path: Path) -> Books:
    server.client.flushdb()
    return Books(server, tmp_path)


def wait(seconds: float) -> None:
    asyncio.run(asyncio.sleep(seconds))


# --- accepting --------------------------------------------------------------------------------------------------------


def test_a_submission_that_is_sent_twice_because_its_answer_was_lost_makes_one_task(books: Books) -> None:
    first, second = books.accept("a"), books.accept("a")

    assert first == second
    assert books.ask(Intake.sight).tasks == 1


def test_a_repeated_idempotency_key_gives_the_first_task_and_another_payload_a_conflict(books: Books) -> None:
    first = books.accept("a", "one", key="k")
    repeated = books.accept("b", "one", key="k")
    conflict = books.accept("c", "two", key="k")
    of_another_owner = books.accept("d", "two", key="k", owner="importer")

    assert repeated == Accepted(Outcome.REPEATED, "a", first.created, hints=0)
    assert conflict.outcome is Outcome.CONFLICT
    assert of_another_owner.outcome is Outcome.ACCEPTED
    assert books.read("b") is None


@pytest.mark.parametrize("limits", [{"max_open_tasks": 2}, {"max_open_bytes": 2048}], ids=["tasks", "bytes"])
def test_no_more_is_accepted_than_may_wait_until_some_has_ended(
    server: RedisProcess, tmp_path: Path, limits: dict[str, int]
) -> None:
    server.client.flushdb()
    books = Books(server, tmp_path, **limits)
    text = "x" * 1000
    outcomes = [books.accept(name, text).outcome for name in "abc"]
    assert outcomes == [Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.FULL]

    assert books.leases.claim() is not None
    books.leases.finish("a", ANSWER)

    assert books.accept("c", text).outcome is Outcome.ACCEPTED


# --- leases -----------------------------------------------------------------------------------------------------------


def test_the_task_that_waits_longest_is_leased_to_one_worker(books: Books) -> None:
    for name in ("a", "b"):
        books.accept(name)
        wait(0.01)

    with ThreadPoolExecutor(8) as threads:
        claims = [claim for claim in threads.map(lambda _: books.leases.claim(), range(16)) if claim]

    assert sorted(claim.id for claim in claims) == ["a", "b"]
    assert [claim.texts for claim in claims] == [("a text",)] * 2
    assert books.state() is State.PROCESSING


def test_a_lease_that_ends_gives_the_task_to_the_next_worker_and_counts_as_a_failure(books: Books) -> None:
    books.accept()
    first = books.leases.claim()
    assert first is not None
    assert books.leases.claim() is None
    books.let_time_pass()
    second = books.leases.claim()
    assert second is not None

    assert (first.number, first.failures, first.lease_expired) == (1, 0, False)
    assert (second.number, second.failures, second.lease_expired) == (2, 1, True)


def test_a_deferred_task_comes_back_when_it_is_due(books: Books) -> None:
    books.accept()
    claim = books.leases.claim()
    assert claim is not None
    assert books.leases.defer(claim, seconds=20, failed=True)
    assert books.state() is State.PENDING
    assert books.leases.claim() is None
    books.let_time_pass()
    again = books.leases.claim()
    assert again is not None

    assert (again.number, again.failures, again.lease_expired) == (2, 1, False)


def test_a_worker_whose_lease_has_ended_cannot_defer_the_task_of_another(books: Books) -> None:
    books.accept()
    late = books.leases.claim()
    books.let_time_pass()
    assert books.leases.claim() is not None
    assert late is not None

    assert not books.leases.defer(late, seconds=60, failed=True)
    assert books.state() is State.PROCESSING


# --- outcomes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [OTHER, FAILURE], ids=["answer", "failure"])
def test_the_first_outcome_wins(books: Books, second: Answer | Failure) -> None:
    books.accept()
    books.leases.claim()

    assert books.leases.finish("a", ANSWER)
    assert not books.leases.finish("a", second)
    record = books.read()
    assert record is not None
    assert (record.state, record.answer, record.failure) == (State.SUCCESS, ANSWER, None)
    assert books.leases.claim() is None


def test_a_worker_whose_lease_has_ended_may_still_bring_the_answer(books: Books) -> None:
    books.accept()
    books.leases.claim()
    books.let_time_pass()
    books.leases.claim()

    assert books.leases.finish("a", ANSWER)
    assert not books.leases.finish("a", OTHER)


def test_an_outcome_is_kept_for_the_retention_and_an_open_task_for_good(server: RedisProcess, tmp_path: Path) -> None:
    server.client.flushdb()
    books = Books(server, tmp_path, retention_seconds=0.3)
    books.accept("a")
    books.accept("b")
    books.leases.claim()
    books.leases.finish("a", ANSWER)
    wait(0.5)

    assert books.read("a") is None
    assert books.state("b") is State.PENDING


def test_an_erased_task_gets_no_answer_and_leaves_nothing(books: Books, server: RedisProcess) -> None:
    books.accept()
    books.leases.claim()
    assert books.ask(lambda intake: intake.erase("a"))

    assert not books.leases.finish("a", ANSWER)
    assert not books.ask(lambda intake: intake.erase("a"))
    assert books.read() is None
    assert books.ask(Intake.sight).bytes == 0
    assert server.client.keys() == ["open-bytes"]


def test_figures_of_open_tasks(books: Books) -> None:
    for name in "abc":
        books.accept(name, "text")
    books.leases.claim()
    wait(0.1)

    sight = books.ask(Intake.sight)
    assert (sight.tasks, sight.processing, sight.bytes) == (3, 1, 3 * len(json.dumps(["text"])))
    assert 0.1 <= sight.oldest_seconds < 10


# --- sweeping ---------------------------------------------------------------------------------------------------------


def test_a_submission_learns_how_many_hints_wait(books: Books, server: RedisProcess) -> None:
    server.client.lpush(HINTS, "one", "another")

    assert books.accept("a").hints == 2


def test_sweepers_fill_the_queue_up_to_a_number(books: Books, server: RedisProcess) -> None:
    server.client.zadd(OPEN, {str(at): 1 for at in range(5000)})
    server.client.lpush(HINTS, *["a hint"] * 50)

    assert books.leases.missing_hints() == MOST_HINTS - 50


def test_sweepers_together_send_one_hint_for_each_task_that_is_due(books: Books, server: RedisProcess) -> None:
    for at in range(5):
        books.accept(str(at))
    books.leases.claim()
    server.client.lpush(HINTS, "a hint")

    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda _: books.leases.missing_hints(), range(8)))

    assert sorted(counts) == [0] * 7 + [3], "five tasks, one of them leased, one with a hint"


# --- faults of the server ---------------------------------------------------------------------------------------------


def test_a_killed_redis_loses_no_task_and_no_answer(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        books = Books(server, tmp_path)
        for at in range(200):
            books.accept(f"{at:03}")
        claims = [books.leases.claim() for _ in range(100)]
        for claim in claims:
            assert claim is not None
            books.leases.finish(claim.id, ANSWER)
        server.kill()
        server.start()

        assert server.client.zcard(OPEN) == 100
        assert sum(server.client.hget(key, "state") == "success" for key in server.client.keys(f"{TASK}*")) == 100


def test_a_full_memory_refuses_tasks_and_lets_those_that_were_accepted_end(tmp_path: Path) -> None:
    with redis_server(tmp_path, maxmemory="100mb") as server:
        books = Books(server, tmp_path)
        for name in "abc":
            books.accept(name)
        server.client.config_set("maxmemory", "1")

        with pytest.raises(OutOfMemoryError):
            books.accept("d")
        first, second = books.leases.claim(), books.leases.claim()
        assert first is not None
        assert second is not None
        assert books.leases.finish(first.id, ANSWER)
        assert books.leases.defer(second, seconds=0, failed=False)
        assert books.state(first.id) is State.SUCCESS
        assert books.ask(lambda intake: intake.erase(second.id))

        server.client.config_set("maxmemory", "100mb")
        assert books.accept("d").outcome is Outcome.ACCEPTED


CLOCK_SHIFT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
int gettimeofday(struct timeval *now, void *zone) {
  static int (*real)(struct timeval *, void *);
  if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  int result = real(now, zone);
  long shift = 0;
  FILE *file = fopen(getenv("CLOCK_SHIFT_FILE"), "r");
  if (file) { if (fscanf(file, "%ld", &shift) != 1) shift = 0; fclose(file); }
  now->tv_sec += shift;
  return result;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed: it builds the library that shifts the clock")
@pytest.mark.parametrize("shift", [600, -600], ids=["10-minutes-on", "10-minutes-back"])
def test_a_clock_of_redis_that_jumps_loses_no_task_and_answers_none_twice(tmp_path: Path, shift: int) -> None:
    (tmp_path / "shift.c").write_text(CLOCK_SHIFT)
    library, offset = tmp_path / "shift.so", tmp_path / "offset"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "shift.c", "-ldl"], check=True)
    environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(offset)}
    with redis_server(tmp_path, environment=environment) as server:
        books = Books(server, tmp_path)
        before = server.client.time()[0]
        for name in "abc":
            books.accept(name)
        leased, deferred = books.leases.claim(), books.leases.claim()
        assert leased is not None
        assert deferred is not None
        books.leases.defer(deferred, seconds=30, failed=False)
        offset.write_text(str(shift))
        assert abs(server.client.time()[0] - before - shift) < 60, "the clock has jumped"

        assert books.leases.missing_hints() > 0
        if shift < 0:  # nothing is due later than a lease and a delay from now
            assert server.client.zrange(OPEN, 0, 0, withscores=True)[0][1] > (server.client.time()[0] + 120) * 1000
        claims = [books.leases.claim() for _ in range(3)]

        assert sorted(claim.id for claim in claims if claim) == ["a", "b", "c"]
        assert [books.leases.finish(name, ANSWER) for name in "aabbcc"] == [True, False] * 3
        assert books.ask(Intake.sight).tasks == 0
        assert not server.client.zcard(OPEN)
