"""Predictor in a separate process, for tests that send it requests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LISTENING = re.compile(r"REST on port (\d+), gRPC on port (\d+)")
MAX_START_SECONDS = 90.0  # the SDK's import alone takes several seconds on a busy machine


@dataclass(frozen=True)
class RunningServer:
    """Running predictor: its addresses and its process."""

    process: subprocess.Popen[bytes]
    rest: str
    grpc: str
    log: Path

    def terminate(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(MAX_START_SECONDS)


@contextmanager
def serving(
    version: Path | str,
    log: Path,
    *,
    host: str | None = "127.0.0.1",
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """Serve `version` on free ports, and kill the server at the end if it still runs.

    `host`: None for its own default. `environment`: what is set besides this process's own.
    """
    command = [sys.executable, "-m", "model.serving", str(version), "--port=0", "--grpc-port=0", *options]
    if host is not None:
        command.append(f"--host={host}")
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env={**os.environ, **(environment or {})})
        try:
            rest, grpc = _ports(process, log)
            yield RunningServer(process, f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}", log)
        finally:
            process.kill()
            process.wait()


def _ports(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    deadline = time.monotonic() + MAX_START_SECONDS
    while time.monotonic() < deadline:
        ports = LISTENING.search(log.read_text())
        if ports:
            return ports[1], ports[2]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the server does not listen: {log.read_text()}")
