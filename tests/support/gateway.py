"""Gateway in separate processes, for tests that send it requests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from gateway.api.tokens import digest
from gateway.config import GatewayConfig

T = TypeVar("T")
LISTENING = re.compile(r"listens on (http://\S+:\d+)")
COMMANDS = {
    "api": ("labelwright", "gateway", "api"),
    "worker": ("labelwright", "gateway", "worker"),
    "celery": ("celery", "-A", "gateway.worker", "worker", "--without-gossip", "--without-mingle", "--without-heartbeat"),
}
READY = re.compile(r"the worker is ready")
MAX_START_SECONDS = 90.0
SECRET = b"0123456789abcdef-for-tests"


class GatewayProcess:
    """API or worker, and what it has logged."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.address = ""

    def wait_for(self, pattern: re.Pattern[str]) -> str:
        """Wait until the log has this, and return its first group, or all of it."""
        deadline = time.monotonic() + MAX_START_SECONDS
        while time.monotonic() < deadline:
            if found := pattern.search(self.log.read_text()):
                return found[1] if pattern.groups else found[0]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"the log has no {pattern.pattern!r}: {self.log.read_text()}")

    def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(MAX_START_SECONDS)


def config(folder: Path, redis: str, predictor: str | None, **settings: Any) -> GatewayConfig:
    """Return settings for tests: anonymous, any free port, one classifier `papers` unless its predictor is None."""
    secret = folder / "id-secret"
    secret.write_bytes(SECRET)
    predictors = {} if predictor is None else {"papers": predictor}
    defaults = {"redis": redis, "predictors": predictors, "id_secret_file": secret, "anonymous": True, "port": 0}
    return GatewayConfig.model_validate(defaults | settings)


def write_tokens(folder: Path, tokens: Mapping[str, tuple[Mapping[str, object], str]]) -> Path:
    """Write the file of tokens. tokens: by name, the other fields of the entry, and the secret."""
    entries = [{"name": name, "sha256": digest(secret), **rest} for name, (rest, secret) in tokens.items()]
    path = folder / "tokens.json"
    path.write_text(json.dumps(entries))
    return path


@contextmanager
def running(
    kind: str, settings: GatewayConfig, log: Path, *, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[GatewayProcess]:
    """Run an API or a worker, and kill it at the end if it still runs. kind: a key of COMMANDS."""
    command = [sys.executable, "-m", *COMMANDS[kind], *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stderr=stderr, stdout=stderr, env={**os.environ, **settings.environment(), **(environment or {})}
        )
        running_process = GatewayProcess(process, log)
        try:
            found = running_process.wait_for(LISTENING if kind == "api" else READY)
            running_process.address = found if kind == "api" else ""
            yield running_process
        finally:
            process.kill()
            process.wait()


def submit(client: httpx.Client, text: str | list[str], **headers: str) -> str:
    """Submit a text, or several, as a careful client does, and return the id of the task.

    While the gateway answers 503, it sends the request again with the same key.
    """
    body = {"texts": text} if isinstance(text, list) else {"article": text}
    key, deadline = {"Idempotency-Key": uuid.uuid4().hex}, time.monotonic() + 60
    while True:
        response = client.post("/api/predict/", json=body, headers=key | headers)
        if response.status_code == 202:
            return str(response.json()["task_id"])
        assert response.status_code == 503, response.text
        assert time.monotonic() < deadline, response.text
        time.sleep(0.2)


def answer(client: httpx.Client, task_id: str, *, seconds: float = 30) -> dict[str, Any]:
    """Wait for the answer of a task, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        response = client.get(f"/api/prediction/{task_id}", params={"wait": 2})
        if response.status_code not in (202, 503):
            assert response.status_code == 200, response.text
            return dict(response.json())
        assert time.monotonic() < deadline, response.text


def problem(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the last part of the type of a problem document."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    document = response.json()
    assert document["status"] == response.status_code
    return response.status_code, document["type"].removeprefix("urn:labelwright:problem:")


def wait_until(holds: Callable[[], T], *, seconds: float = 60) -> T:
    """Wait until this is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result
