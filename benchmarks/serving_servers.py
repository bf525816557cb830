"""Servers of the serving benchmark: start, request bodies, readiness, stop."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ports import free_port
from serving_classifiers import NAME, Classifiers
from serving_client import CHECKS
from serving_peers import kserve_torch, mlserver
from serving_processes import resident_megabytes
from serving_texts import v2

LISTENING = re.compile(r"REST on port (\d+)")
MAX_START_SECONDS = 150.0  # until the first correct response
HERE = Path(__file__).parent
OURS = ("int8", "fp32", "linear", "linear-149")
PEERS = ("kserve-torch", "mlserver-torch", "mlserver-int8")


class NotStarted(Exception):
    """A server did not answer in time."""


@dataclass(frozen=True)
class BenchmarkServer:
    """Command of a server, and its requests.

    command: where a word is `{port}`, the port stands; without one the server takes one and logs it.
    tensor, answer: the input's name, and the kind of answer that is right.
    """

    name: str
    command: tuple[str, ...]
    path: str
    tensor: str
    answer: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """Server that has answered. ready: seconds from its start to its first response. loaded: resident MB at that time."""

    server: BenchmarkServer
    process: subprocess.Popen[bytes]
    port: int
    ready: float
    loaded: float


def server_of(name: str, classifiers: Classifiers, folder: Path) -> BenchmarkServer:
    """Return a server by name. Its files are written into `folder`; MLServer's packages into the user's cache."""
    if name == "null":
        return BenchmarkServer(name, (sys.executable, str(HERE / "serving_null.py"), "{port}"), "/", "text", "anything")
    if name == "kserve-torch":
        return BenchmarkServer(name, kserve_torch(classifiers), f"/v2/models/{NAME}/infer", "text", "probabilities")
    if name.startswith("mlserver"):
        command = mlserver(classifiers, folder / name, int8=name.endswith("int8"))
        offline = {"HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        return BenchmarkServer(name, command, f"/v2/models/{NAME}/infer", "array_inputs", "best", offline)
    versions = {
        "int8": classifiers.int8,
        "fp32": classifiers.fp32,
        "linear": classifiers.linear,
        "linear-149": classifiers.linear_149,
    }
    command = (sys.executable, "-m", "model.serving", str(versions[name]), "--host", "127.0.0.1", "--port", "0")
    return BenchmarkServer(name, (*command, "--grpc-port", "0"), f"/v2/models/{NAME}/infer", "text", "labels")


@contextmanager
def running(server: BenchmarkServer, log: Path, text: str) -> Iterator[Running]:
    """Yield the server once it has labelled `text`, and stop it at the end. Raises NotStarted."""
    port = free_port()
    command = [str(port) if word == "{port}" else word for word in server.command]
    environment = os.environ | server.environment | {"PORT": str(port), "PYTHONPATH": str(HERE.parent)}
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            port = _first_answer(server, process, port, log, v2(server.tensor)([text])[0])
            ready = time.perf_counter() - began
            yield Running(server, process, port, ready, resident_megabytes(process.pid))
        finally:
            _end(process)


def _first_answer(server: BenchmarkServer, process: subprocess.Popen[bytes], port: int, log: Path, body: str) -> int:
    """Send requests until a response is correct, and return the port. Labelwright's server logs its port."""
    says_port = server.command[1:3] == ("-m", "model.serving")
    deadline = time.monotonic() + MAX_START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        logged = LISTENING.search(log.read_text(errors="replace")) if says_port else None
        at = int(logged[1]) if logged else port
        if (logged or not says_port) and _answers(server, at, body):
            return at
        time.sleep(0.02)
    last = log.read_text(errors="replace")[-3000:]
    raise NotStarted(f"{server.name} did not answer within {MAX_START_SECONDS:g} s; its log ends with\n{last}")


def _answers(server: BenchmarkServer, port: int, body: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", server.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        return answer.status == 200 and not CHECKS[server.answer](content)
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and its children with SIGTERM, and after ten seconds with SIGKILL."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
