"""The servers of the serving benchmark: what starts each, how it is asked, when it is ready, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from serving_classifiers import NAME, Classifiers
from serving_client import CHECKS
from serving_peers import kserve_torch, mlserver
from serving_processes import resident_megabytes
from serving_texts import v2

LISTENING = re.compile(r"REST on port (\d+)")
PATIENCE = 150.0  # seconds until the first right answer
HERE = Path(__file__).parent
OURS = ("int8", "fp32", "linear", "linear-149")
PEERS = ("kserve-torch", "mlserver-torch", "mlserver-int8")


class NotStarted(Exception):
    """A server did not come to answer."""


@dataclass(frozen=True)
class Server:
    """How one is started and asked.

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
    """One that has answered. ready: seconds from its start to that. loaded: MB resident then."""

    server: Server
    process: subprocess.Popen[bytes]
    port: int
    ready: float
    loaded: float


def server_of(name: str, classifiers: Classifiers, folder: Path) -> Server:
    """The server of that name; what it needs is written into `folder` and, for MLServer, the user's cache."""
    if name == "null":
        return Server(name, (sys.executable, str(HERE / "serving_null.py"), "{port}"), "/", "text", "anything")
    if name == "kserve-torch":
        return Server(name, kserve_torch(classifiers), f"/v2/models/{NAME}/infer", "text", "probabilities")
    if name.startswith("mlserver"):
        command = mlserver(classifiers, folder / name, int8=name.endswith("int8"))
        offline = {"HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        return Server(name, command, f"/v2/models/{NAME}/infer", "array_inputs", "best", offline)
    versions = {
        "int8": classifiers.int8,
        "fp32": classifiers.fp32,
        "linear": classifiers.linear,
        "linear-149": classifiers.linear_149,
    }
    command = (sys.executable, "-m", "model.serving", str(versions[name]), "--host", "127.0.0.1", "--port", "0")
    return Server(name, (*command, "--grpc-port", "0"), f"/v2/models/{NAME}/infer", "text", "labels")


@contextmanager
def running(server: Server, log: Path, text: str) -> Iterator[Running]:
    """The server, once it has labelled `text`; ended at the end. Raises NotStarted."""
    port = _free_port()
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


def _first_answer(server: Server, process: subprocess.Popen[bytes], port: int, log: Path, body: str) -> int:
    """Ask until the answer is right; the port that answered. Ours says its port in its log."""
    says_port = server.command[1:3] == ("-m", "model.serving")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        found = LISTENING.search(log.read_text(errors="replace")) if says_port else None
        at = int(found[1]) if found else port
        if (found or not says_port) and _answers(server, at, body):
            return at
        time.sleep(0.02)
    last = log.read_text(errors="replace")[-3000:]
    raise NotStarted(f"{server.name} did not answer within {PATIENCE:g} s; its log ends with\n{last}")


def _answers(server: Server, port: int, body: str) -> bool:
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
    """SIGTERM, and SIGKILL for what has not ended after ten seconds; its children too."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
