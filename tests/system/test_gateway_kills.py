"""The kill matrix of the gateway's workers: killed at each step, no task is lost and none is answered twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gateway.records.keys import HINTS, OPEN, TASK
from tests.support.gateway import answer, config, running, submit
from tests.support.ports import free_port
from tests.support.redis import RedisProcess
from tests.support.servers import RunningServer, serving
from tests.support.versions import make_version

LEASE = {"lease_seconds": 3.0, "request_seconds": 2.0}

# A worker's own steps, and SIGKILL between two of them.
CLAIMED = """
import os, signal, sys
from gateway.config import read
from gateway.records.connections import for_worker
from gateway.records.leases import Leases
from gateway.work.predictor import PredictorClient
config = read({}, os.environ)
leases = Leases(for_worker(config.redis), config)
claim = leases.claim()
"""
ASKED = """
predictor = PredictorClient("papers", config.predictors["papers"], request_seconds=30, connections=1)
answer = predictor.ask(claim.texts, request_id=claim.request_id)
"""
FINISHED = """
assert leases.finish(claim.id, answer)
"""
HINTED = """
import os
from prometheus_client import CollectorRegistry
from gateway.classifiers.known import Classifiers
from gateway.config import read
from gateway.records.connections import for_worker
from gateway.records.leases import Leases
from gateway.work.metrics import WorkerMetrics
from gateway.work.predictors import Predictors
from gateway.work.task import Work
config, metrics = read({}, os.environ), WorkerMetrics(CollectorRegistry())
work = Work(Leases(for_worker(config.redis), config), config, Predictors(Classifiers(config), config, metrics), metrics)
"""
KILLED = """
os.kill(os.getpid(), signal.SIGKILL)
"""


def end_lease(redis: RedisProcess, task_id: str) -> None:
    """Let the lease be over, as time would."""
    redis.client.zadd(OPEN, {task_id: 1}, xx=True)


def metric(port: int, name: str) -> float:
    """Sum of a series of a worker."""
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("steps", "answered", "expired"),
    [
        pytest.param(CLAIMED + KILLED, False, 1, id="between-claim-and-call"),
        pytest.param(CLAIMED + ASKED + KILLED, False, 1, id="between-call-and-finish"),
        pytest.param(CLAIMED + ASKED + FINISHED + KILLED, True, 0, id="between-finish-and-acknowledgement"),
    ],
)
def test_a_worker_killed_between_two_steps_loses_no_task(
    tmp_path: Path, redis: RedisProcess, papers_predictor: RunningServer, steps: str, answered: bool, expired: int
) -> None:
    settings = config(tmp_path, redis.address, papers_predictor.rest, metrics_port=free_port())
    with running("api", settings, tmp_path / "api.log") as api, httpx.Client(base_url=api.address, timeout=40) as client:
        task_id = submit(client, "cs.LG")
        killed = subprocess.run(
            [sys.executable, "-c", steps],
            env={**os.environ, **settings.environment()},
            check=False,
            capture_output=True,
            text=True,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert (redis.client.hget(TASK + task_id, "state") == "success") == answered
        end_lease(redis, task_id)

        with running("worker", settings, tmp_path / "worker.log"):
            assert answer(client, task_id)["predictions"] == ["cs.LG"]
            other = submit(client, "stat.ML")
            assert answer(client, other)["predictions"] == ["stat.ML"]
            assert metric(settings.metrics_port, "labelwright_gateway_expired_leases_total") == expired
            assert metric(settings.metrics_port, "labelwright_gateway_second_answers_total") == 0


def test_one_hint_leads_to_all_tasks_that_are_due_unless_the_worker_stops(
    tmp_path: Path, redis: RedisProcess, papers_predictor: RunningServer
) -> None:
    settings = config(tmp_path, redis.address, papers_predictor.rest)
    environment = {**os.environ, **settings.environment()}
    with running("api", settings, tmp_path / "api.log") as api, httpx.Client(base_url=api.address, timeout=40) as client:
        texts = ["cs.LG", "stat.ML", "math.CO"]
        ids = [submit(client, text) for text in texts]
        subprocess.run([sys.executable, "-c", HINTED + "work.stop()\nwork.do_what_is_due()"], env=environment, check=True)
        assert {client.get(f"/api/prediction/{each}").json()["status"] for each in ids} == {"pending"}

        subprocess.run([sys.executable, "-c", HINTED + "work.do_what_is_due()"], env=environment, check=True)
        assert [client.get(f"/api/prediction/{each}").json()["predictions"] for each in ids] == [[text] for text in texts]


def test_a_text_that_kills_each_worker_fails_in_the_end(
    tmp_path: Path, redis: RedisProcess, papers_predictor: RunningServer
) -> None:
    settings = config(tmp_path, redis.address, papers_predictor.rest, max_failures=2)
    with running("api", settings, tmp_path / "api.log") as api, httpx.Client(base_url=api.address, timeout=40) as client:
        task_id = submit(client, "cs.LG")
        for _ in range(2):
            command = [sys.executable, "-c", CLAIMED + "assert claim" + KILLED]
            killed = subprocess.run(command, env={**os.environ, **settings.environment()}, check=False)
            assert killed.returncode == -signal.SIGKILL
            end_lease(redis, task_id)
        with running("worker", settings, tmp_path / "worker.log"):
            response = client.get(f"/api/prediction/{task_id}?wait=20")

    assert response.status_code == 502
    assert response.json()["type"].endswith("predictor-failed")


def test_a_version_changed_in_the_middle_gives_each_task_the_answer_of_one_version(tmp_path: Path, redis: RedisProcess) -> None:
    """The second version knows one label more, and the first answers are kept."""
    first_version = make_version(tmp_path / "v1", version="v1")
    second_version = make_version(tmp_path / "v2", version="v2", labels=("cs.LG", "stat.ML", "math.CO", "cs.AI"))
    expected = {"v1": ["cs.LG"], "v2": ["cs.AI", "cs.LG"]}
    with ExitStack() as stack:
        first = stack.enter_context(serving(first_version, tmp_path / "first.log"))
        port = first.rest.rpartition(":")[2]
        settings = config(tmp_path, redis.address, first.rest, max_delay_seconds=1)
        stack.enter_context(running("worker", settings, tmp_path / "worker.log"))
        api = stack.enter_context(running("api", settings, tmp_path / "api.log"))
        client = stack.enter_context(httpx.Client(base_url=api.address, timeout=40))
        ids = [submit(client, ["cs.LG cs.AI"] * 5) for _ in range(20)]
        assert answer(client, ids[0])["version"] == "v1"
        first.terminate()
        ids += [submit(client, ["cs.LG cs.AI"] * 5) for _ in range(20)]
        stack.enter_context(serving(second_version, tmp_path / "second.log", options=[f"--port={port}"]))
        answers = [answer(client, each, seconds=90) for each in ids]

    assert {each["version"] for each in answers} == {"v1", "v2"}
    for each in answers:
        assert [sorted(row) for row in each["predictions"]] == [expected[each["version"]]] * 5
        assert each["thresholds"] == [[0.5] * len(expected[each["version"]])] * 5


def test_workers_and_redis_killed_at_random_and_hints_dropped_lose_no_task(
    tmp_path: Path, redis: RedisProcess, papers_predictor: RunningServer
) -> None:
    """A small form of benchmarks/gateway_kills.py."""
    labels = ["cs.LG", "stat.ML", "math.CO"]
    chosen = random.Random(1)
    settings = config(tmp_path, redis.address, papers_predictor.rest, concurrency=4, **LEASE)
    with ExitStack() as stack:
        api = stack.enter_context(running("api", settings, tmp_path / "api.log"))
        client = stack.enter_context(httpx.Client(base_url=api.address, timeout=40))
        tasks = {}
        for at in range(200):
            tasks[submit(client, f"{labels[at % 3]} {at}")] = [labels[at % 3]]
        for at in range(4):
            with running("worker", settings, tmp_path / f"worker-{at}.log"):
                time.sleep(chosen.uniform(0.1, 0.6))
            redis.client.delete(HINTS)
            redis.kill()
            redis.start()
        stack.enter_context(running("worker", settings, tmp_path / "last.log"))

        assert len(tasks) == 200
        for task_id, expected in tasks.items():
            assert answer(client, task_id, seconds=120)["predictions"] == expected
