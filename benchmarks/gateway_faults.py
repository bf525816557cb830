"""Processes of the gateway's benchmark, and the disturber that kills them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import redis as store
from ports import free_port

REDIS = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory", "1gb", "--maxmemory-policy", "noeviction")


class Process:
    """Process that can be killed and started again."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._log = log
        self.started: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.started = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.started is not None:
            self.started.send_signal(signal.SIGKILL)
            self.started.wait()


@dataclass
class Scene:
    """Everything that runs in one row of the benchmark."""

    redis: Process
    redis_port: int
    predictor: Process
    predictor_port: int
    workers: list[Process]
    others: list[Process] = field(default_factory=list)

    @property
    def redis_address(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def client(self) -> store.Redis:
        return store.Redis.from_url(self.redis_address, decode_responses=True)

    def start(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that `stop` is reached
        self.redis.start()
        self.predictor.start()
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{self.predictor_port}/v2/health/ready").is_success)
        wait_for(self.client().ping)
        for each in (*self.others, *self.workers):
            each.start()

    def stop(self) -> None:
        for each in (*self.workers, *self.others, self.predictor, self.redis):
            each.kill()


def scene(folder: Path, version: str) -> Scene:
    """Return a scene with Redis and a predictor; neither runs yet."""
    folder.mkdir(parents=True)
    redis_port, predictor_port = free_port(), free_port()
    program = shutil.which("valkey-server") or shutil.which("redis-server") or "redis-server"
    store = [program, "--port", str(redis_port), "--bind", "127.0.0.1", "--dir", str(folder), *REDIS]
    serve = [sys.executable, "-m", "model.serving", version, "--host=127.0.0.1", f"--port={predictor_port}", "--grpc-port=0"]
    return Scene(
        Process(store, {}, folder / "redis.log"), redis_port, Process(serve, {}, folder / "predictor.log"), predictor_port, []
    )


@dataclass(frozen=True)
class FaultPlan:
    """Faults, spread over some seconds. away: seconds without a predictor; drops: how often the queue is emptied."""

    kills: int
    redis_kills: int
    away: float
    drops: int
    seconds: float
    seed: int


class Disturber:
    """Thread that carries out a plan. queue: key of Celery's queue."""

    def __init__(self, scene: Scene, plan: FaultPlan, *, queue: str) -> None:
        self._scene = scene
        self._plan = plan
        self._queue = queue
        self.done: dict[str, int] = dict.fromkeys(("worker killed", "redis killed", "predictor away", "hints dropped"), 0)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        plan, chosen = self._plan, random.Random(self._plan.seed)
        acts: list[tuple[float, Callable[[], None]]] = [
            (chosen.uniform(0, plan.seconds), act)
            for act, times in ((self._kill_worker, plan.kills), (self._kill_redis, plan.redis_kills), (self._drop, plan.drops))
            for _ in range(times)
        ]
        start = time.monotonic()
        if plan.away:
            threading.Thread(target=self._take_predictor_away, args=[plan.seconds / 3], daemon=True).start()
        for at, act in sorted(acts, key=lambda each: each[0]):
            time.sleep(max(0.0, start + at - time.monotonic()))
            act()
        time.sleep(max(0.0, start + plan.seconds / 3 + plan.away - time.monotonic()))

    def _kill_worker(self) -> None:
        worker = self._scene.workers[self.done["worker killed"] % len(self._scene.workers)]
        worker.kill()
        worker.start()
        self.done["worker killed"] += 1

    def _kill_redis(self) -> None:
        self._scene.redis.kill()
        self._scene.redis.start()
        wait_for(self._scene.client().ping)
        self.done["redis killed"] += 1

    def _drop(self) -> None:
        self.done["hints dropped"] += int(self._scene.client().llen(self._queue))
        self._scene.client().delete(self._queue)

    def _take_predictor_away(self, after: float) -> None:
        time.sleep(after)
        self._scene.predictor.kill()
        time.sleep(self._plan.away)
        self._scene.predictor.start()
        self.done["predictor away"] += 1


def wait_for(holds: Callable[[], object], seconds: float = 600) -> None:
    """Wait until this is true and raises no error of a connection."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except (httpx.HTTPError, store.ConnectionError, store.TimeoutError):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)
