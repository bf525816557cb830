"""The kill matrix of the flusher: killed at each step, with an S3 server that fails, each correction is stored exactly once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.feedback.batches import Batches
from gateway.feedback.flusher import Flusher, open_feedback, write
from gateway.feedback.held import Held, State
from gateway.feedback.intake import FeedbackIntake
from gateway.feedback.keys import BATCH, HELD
from gateway.feedback.metrics import FeedbackMetrics
from gateway.records.connections import for_worker
from model.corrections import Correction
from model.storage import open_store
from tests.support.broken_s3 import S3Faults, broken_s3
from tests.support.corrections import correction
from tests.support.gateway import config
from tests.support.redis import RedisProcess, redis_server
from trainer.config.settings import Config
from trainer.corrections.reading import ReadCorrections, read_corrections

OF_PAPERS = {"namespace": "team", "classifier": "papers"}
FORKED = multiprocessing.get_context("fork")  # processes that have imported everything


def steps(settings: GatewayConfig, last: str) -> None:
    """Do a flusher's own steps up to this one, and die by SIGKILL."""
    batches, store = Batches(for_worker(settings.redis), settings), open_feedback(settings)
    assert store is not None
    batch = batches.cut("papers")
    assert batch is not None
    if last != "cut":
        key = write(store, batch)
    if last == "forget":
        assert batches.forget(batch, key) == len(batch.rows)
    os.kill(os.getpid(), signal.SIGKILL)


def flush(settings: GatewayConfig) -> None:
    """Flush until the process is killed."""
    flusher(settings, CollectorRegistry()).thread.run()


def flusher(settings: GatewayConfig, registry: CollectorRegistry) -> Flusher:
    store = open_feedback(settings)
    assert store is not None
    batches = Batches(for_worker(settings.redis), settings)
    return Flusher(batches, store, FeedbackMetrics(registry, "team"), lambda: ["papers"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def s3(s3_bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Faults]:
    """The S3 server, through a proxy with faults."""
    with broken_s3(s3_server) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.address)
        yield faults


class Desk:
    """Place where corrections are sent and withdrawn, and seen again as a training reads them."""

    def __init__(self, server: RedisProcess, folder: Path, bucket: str) -> None:
        server.client.flushdb()
        self.server = server
        self.bucket = bucket
        times = {"flush_seconds": 0, "lease_seconds": 0.5, "request_seconds": 0.4}
        self.settings = config(folder, server.address, "http://127.0.0.1:1", feedback_uri=bucket, **times)

    async def _intake(self, *questions: tuple[str, Any]) -> list[Any]:
        async with redis.asyncio.from_url(self.server.address, decode_responses=True) as client:
            intake = FeedbackIntake(client, self.settings)
            found = []
            for name, given in questions:
                found.append(
                    await intake.accept("papers", given, of=given.text)
                    if name == "accept"
                    else await getattr(intake, name)(given)
                )
            return found

    def send(self, *texts: str) -> list[Correction]:
        """Send a correction of each text, and return them."""
        rows = [correction(text, "cs.LG", id=f"c-{text}") for text in texts]
        asyncio.run(self._intake(*(("accept", each) for each in rows)))
        return rows

    def state(self, text: str) -> Held:
        (held,) = asyncio.run(self._intake(("read", f"c-{text}")))
        assert isinstance(held, Held)
        return held

    def withdraw(self, *texts: str) -> None:
        asyncio.run(self._intake(*(("withdraw", self.state(text)) for text in texts)))

    def die_after(self, step: str) -> None:
        """Let a flusher do its steps up to this one: cut, write, forget."""
        process = FORKED.Process(target=steps, args=(self.settings, step))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """Run a flusher, and kill it at the end."""
        process = FORKED.Process(target=flush, args=(self.settings,))
        process.start()
        try:
            yield
        finally:
            process.kill()
            process.join()

    def waiting(self) -> int:
        return int(self.server.client.zcard(HELD + "papers")) + int(self.server.client.exists(BATCH + "papers"))

    def flush_all(self) -> None:
        """Run a flusher until nothing is held any more."""
        with self.flushing():
            deadline = time.monotonic() + 120
            while self.waiting():
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def read(self) -> ReadCorrections:
        """Read what is stored as a training does."""
        settings = {"dataset": {"uri": "unused", "corrections": f"{self.bucket}feedback/papers/"}, "output_dir": "unused"}
        return read_corrections(Config.model_validate(settings))


@pytest.fixture
def desk(server: RedisProcess, tmp_path: Path, s3_bucket: str, s3: S3Faults) -> Desk:
    return Desk(server, tmp_path, s3_bucket)


def texts_of(corrections: Sequence[Correction]) -> list[str]:
    return sorted(each.text for each in corrections)


@pytest.mark.parametrize("step", ["cut", "write", "forget"])
def test_a_flusher_killed_after_a_step_stores_each_correction_once(desk: Desk, step: str) -> None:
    desk.send("a", "b")
    desk.die_after(step)
    desk.send("c")
    desk.flush_all()

    found = desk.read()
    assert (found.rows, found.files) == (3, 2)
    assert texts_of(found.in_force) == ["a", "b", "c"]
    assert {desk.state(each).state for each in "abc"} == {State.STORED}


def test_a_flusher_killed_while_s3_writes_stores_each_correction_once(desk: Desk, s3: S3Faults) -> None:
    """The object is there, but its writer never hears of it."""
    desk.send("a", "b")
    with s3.held_answers() as written, desk.flushing():
        assert written.wait(60)
    assert len(list(open_store(desk.bucket).list())) == 1
    desk.flush_all()

    assert (desk.read().rows, desk.read().files) == (2, 1)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({"conflicts": 2}, id="409"),
        pytest.param({"lost_answers": 1}, id="412-after-its-own-success"),
        pytest.param({"busy": 2}, id="503"),
        pytest.param({"busy": 4}, id="503-for-longer-than-one-write"),
        pytest.param({"lost_answers": 1, "conflicts": 1}, id="409-then-412"),
    ],
)
def test_an_s3_server_that_fails_delays_corrections_and_doubles_none(desk: Desk, s3: S3Faults, faults: dict[str, int]) -> None:
    for name, value in faults.items():
        setattr(s3, name, value)
    desk.send("a", "b", "c")
    desk.flush_all()

    assert not any(getattr(s3, name) for name in faults)
    assert (desk.read().rows, desk.read().files) == (3, 1)
    assert desk.state("a").key == desk.state("c").key is not None


def test_an_object_of_other_rows_under_the_batches_key_is_never_taken_for_it(desk: Desk) -> None:
    desk.send("a")
    desk.die_after("write")
    store = open_store(desk.bucket)
    (there,) = store.list()
    content = store.read(there.key)
    store.write(there.key, b"something else")
    registry = CollectorRegistry()
    desk.server.client.hdel(BATCH + "papers", "until")  # the lease ends
    flusher(desk.settings, registry).flush()
    assert registry.get_sample_value("labelwright_feedback_flush_failures_total", OF_PAPERS) == 1
    assert desk.state("a").state is State.HELD
    assert desk.waiting() == 1

    store.write(there.key, content)
    desk.flush_all()
    assert desk.state("a").state is State.STORED


def test_a_correction_withdrawn_at_any_step_is_not_learnt(desk: Desk) -> None:
    desk.send("held", "cut", "stored", "kept")
    desk.withdraw("held")
    desk.die_after("cut")
    desk.withdraw("cut")
    assert (desk.state("held").state, desk.state("cut").state) == (State.WITHDRAWN, State.WITHDRAWING)
    desk.flush_all()
    assert desk.state("stored").state is State.STORED
    desk.withdraw("stored")
    desk.flush_all()

    assert {each: desk.state(each).state for each in ("held", "cut", "stored")} == dict.fromkeys(
        ("held", "cut", "stored"), State.WITHDRAWN
    )
    found = desk.read()
    assert texts_of(found.in_force) == ["kept"]
    assert (found.rows, found.withdrawn) == (5, 2)  # the one that was only held was never stored


def test_flushers_killed_at_random_in_front_of_a_failing_s3_store_1000_corrections_once(desk: Desk, s3: S3Faults) -> None:
    """Two flushers at once, between which corrections arrive, Redis is killed, too, and S3 answers 409, 412 and 503."""
    chosen = random.Random(1)
    sent = []
    for at in range(10):
        sent += desk.send(*(f"text-{at}-{number}" for number in range(100)))
        s3.conflicts, s3.busy, s3.lost_answers = chosen.randrange(3), chosen.randrange(4), chosen.randrange(2)
        with desk.flushing(), desk.flushing():
            time.sleep(chosen.uniform(0, 0.3))
            if at % 3 == 0:
                desk.server.kill()
                desk.server.start()
            time.sleep(chosen.uniform(0, 0.2))
    desk.flush_all()

    found = desk.read()
    assert texts_of(found.in_force) == texts_of(sent)
    assert len(sent) == found.rows == 1000  # read without removing doubles: none is there twice
    keys = Counter(desk.state(each.text).key for each in sent[::50])
    assert None not in keys
