"""Redis in a separate process, which a test can kill and start again with its data."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.support.ports import free_port

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")
DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
MAX_START_SECONDS = 30


class RedisProcess:
    """Redis on a fixed port, with its data in a folder."""

    def __init__(self, folder: Path, settings: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        self._environment = environment
        self.port = free_port()
        self.address = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis.from_url(self.address, decode_responses=True)
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, and wait until it has read its data."""
        if PROGRAM is None:
            pytest.skip("needs the program valkey-server or redis-server")
        self._folder.mkdir(exist_ok=True)
        settings = [part for name, value in self._settings.items() for part in (f"--{name}", value)]
        command = [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), *settings]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **self._environment})
        deadline = time.monotonic() + MAX_START_SECONDS
        while True:
            try:
                self.client.ping()
            except redis.ConnectionError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server(folder: Path, *, environment: Mapping[str, str] | None = None, **settings: str) -> Iterator[RedisProcess]:
    """Run Redis as the gateway requires it. settings: further ones, or others, with `_` for `-`."""
    changed = {name.replace("_", "-"): value for name, value in settings.items()}
    server = RedisProcess(folder, DURABLE | changed, environment or {})
    server.start()
    try:
        yield server
    finally:
        server.kill()
        server.client.close()
