"""The predictor as who starts it meets it: signals before it is ready, addresses, and what it says of itself."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from model.serving.config import EVERY_ADDRESS
from model.serving.server import _listening
from tests.support.raw_http import exchange, port_of
from tests.support.servers import MAX_START_SECONDS, RunningServer, serving
from tests.support.versions import make_version

STARTS = {
    "predictor": ["-m", "model.serving"],
    "labelwright": ["-m", "labelwright", "serve"],
}
FREE_PORTS = ["--host=127.0.0.1", "--port=0", "--grpc-port=0"]


def start(*options: str) -> subprocess.CompletedProcess[str]:
    """Run a server that does not come to listen."""
    command = [sys.executable, "-m", "model.serving", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=MAX_START_SECONDS, check=False)


# --- signals before it is ready ---------------------------------------------------------------------------------------


@contextmanager
def first_process(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command as process 1 of a namespace, as in a container: what starts it and ends as it does, and its own id here.

    The kernel keeps every signal from a process 1 that has no handler for it.
    """
    outer = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    try:
        wait_until(lambda: bool(children.read_text()), outer)
        yield outer, int(children.read_text())
    finally:
        outer.kill()
        outer.communicate()


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + MAX_START_SECONDS
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def has_loaded(process: int, library: str) -> bool:
    return library in Path(f"/proc/{process}/maps").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
@pytest.mark.parametrize("library", ["pydantic_core", "onnxruntime", "cygrpc", "uvloop"])
@pytest.mark.parametrize("started", STARTS)
def test_a_signal_while_it_starts_ends_it_with_0_at_once_and_without_a_word(
    tmp_path: Path, started: str, library: str, number: signal.Signals
) -> None:
    """Its imports, in this order, take most of the start."""
    command = [sys.executable, *STARTS[started], str(make_version(tmp_path / "v1")), *FREE_PORTS]
    with first_process(command) as (outer, inner):
        wait_until(lambda: has_loaded(inner, library), outer)
        subprocess.run(["kill", f"-{number.name}", str(inner)], check=True)
        said = outer.communicate(timeout=10)

    assert (outer.returncode, said) == (0, ("", ""))


def test_what_was_fetched_when_a_signal_came_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as storage:  # takes every question and answers none
        for name, value in {
            "TMPDIR": str(scratch),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{storage.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        with first_process([sys.executable, "-m", "model.serving", "s3://models/papers/v1/"]) as (outer, inner):
            storage.settimeout(MAX_START_SECONDS)
            with storage.accept()[0]:
                assert len(list(scratch.iterdir())) == 1
                subprocess.run(["kill", "-TERM", str(inner)], check=True)
                status = outer.wait(10)

    assert status == 0
    assert list(scratch.iterdir()) == []


# --- addresses --------------------------------------------------------------------------------------------------------


def answers_at(running: RunningServer, host: str) -> tuple[bool, bool]:
    """Whether REST does, and gRPC."""
    rest = over_grpc = False
    with suppress(httpx.ConnectError):
        rest = httpx.get(f"http://{host}:{port_of(running.rest)}/v2/health/ready", timeout=MAX_START_SECONDS).is_success
    with suppress(grpc.RpcError), grpc.insecure_channel(f"{host}:{port_of(running.grpc)}") as channel:
        over_grpc = GRPCInferenceServiceStub(channel).ServerReady(messages.ServerReadyRequest(), timeout=MAX_START_SECONDS).ready
    return rest, over_grpc


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param(None, {"127.0.0.1", "[::1]"}, id="default"),
        pytest.param("::", {"127.0.0.1", "[::1]"}, id="all"),
        pytest.param("127.0.0.1", {"127.0.0.1"}, id="one-of-ipv4"),
        pytest.param("::1", {"[::1]"}, id="one-of-ipv6"),
    ],
)
def test_both_protocols_answer_on_the_host_that_is_given_and_else_on_every_address(
    tmp_path: Path, host: str | None, expected: set[str]
) -> None:
    with serving(make_version(tmp_path / "v1"), tmp_path / "log", host=host) as running:
        found = {each: answers_at(running, each) for each in ("127.0.0.1", "[::1]")}

    assert found == {each: (each in expected, each in expected) for each in found}


def test_where_the_kernel_has_no_ipv6_the_default_is_every_address_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with _listening(EVERY_ADDRESS, 0) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"


def test_a_host_that_is_a_name_is_refused_in_one_sentence() -> None:
    finished = start("v1", "--host=localhost")

    assert finished.returncode == 2
    assert finished.stderr.endswith("Error: --host is 'localhost': expected an IP address, such as 127.0.0.1 or ::1\n")


def test_a_grpc_port_that_is_taken_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = start(str(make_version(tmp_path / "v1")), "--host=127.0.0.1", "--port=0", f"--grpc-port={port}")

    assert finished.returncode == 1
    assert finished.stderr == f"Error: cannot listen on 127.0.0.1 port {port} for gRPC: it may be taken\n"


# --- what it says -----------------------------------------------------------------------------------------------------


def test_bytes_that_are_no_request_leave_no_line_in_the_log(tmp_path: Path) -> None:
    with serving(make_version(tmp_path / "v1"), tmp_path / "log") as running:
        before = running.log.read_text()
        answer = exchange(port_of(running.rest), b"garbage\r\n\r\n")
        said = running.log.read_text().removeprefix(before)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert said == ""
