"""Which version a Pod says it serves, from servers that answer and from those that do not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from k8s.controller.clients.probe import HttpProbe
from tests.support.answers import ChosenResponse, answering


@pytest.fixture
def server() -> Iterator[ChosenResponse]:
    with answering() as answers:
        answers.body = {"name": "papers", "versions": ["papers-1a2b3c4d"], "platform": "onnxruntime"}
        yield answers


def pod(address: str | None = "127.0.0.1") -> dict[str, Any]:
    return {"status": {"podIP": address} if address else {}}


def test_the_version_is_read_from_the_models_metadata(server: ChosenResponse) -> None:
    assert HttpProbe(port=server.port).version(pod(), "papers") == "papers-1a2b3c4d"
    assert server.asked == ["/v2/models/papers"]


def test_a_pod_may_have_an_ipv6_address() -> None:
    with answering("::1") as server:
        server.body = {"versions": ["v1"]}

        assert HttpProbe(port=server.port).version(pod("::1"), "papers") == "v1"


def test_a_pod_without_an_address_serves_nothing_yet() -> None:
    assert HttpProbe().version(pod(None), "papers") is None
    assert HttpProbe().version({}, "papers") is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(503, {"versions": ["v1"]}, id="stopping"),
        pytest.param(404, {"error": "Model papers not found."}, id="another-model"),
        pytest.param(200, {"versions": []}, id="no-version"),
        pytest.param(200, {"versions": ["v1", "v2"]}, id="two-versions"),
        pytest.param(200, {"versions": "v1"}, id="no-list"),
        pytest.param(200, {"versions": [1]}, id="no-text"),
        pytest.param(200, ["v1"], id="no-object"),
        pytest.param(200, b"<html>", id="no-json"),
        pytest.param(200, b"[" * 100_000, id="deep"),
        pytest.param(200, b"", id="nothing"),
        pytest.param(200, b'{"versions": ["v1"], "x": "' + b"x" * 300_000 + b'"}', id="too-large"),
    ],
)
def test_any_other_answer_is_no_version(server: ChosenResponse, status: int, body: Any) -> None:
    server.status, server.body = status, body

    assert HttpProbe(port=server.port).version(pod(), "papers") is None


def test_a_redirection_is_not_followed(server: ChosenResponse) -> None:
    server.status, server.headers = 302, {"Location": "/elsewhere"}

    assert HttpProbe(port=server.port).version(pod(), "papers") is None
    assert server.asked == ["/v2/models/papers"]


def test_an_answer_that_breaks_off_is_no_version(server: ChosenResponse) -> None:
    server.headers = {"Content-Length": "10000"}

    assert HttpProbe(port=server.port, seconds=0.2).version(pod(), "papers") is None


def test_an_answer_in_chunks_is_read(server: ChosenResponse) -> None:
    content = server.content()
    server.body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (content[:7], content[7:], b""))
    server.headers = {"Transfer-Encoding": "chunked"}

    assert HttpProbe(port=server.port).version(pod(), "papers") == "papers-1a2b3c4d"


def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert HttpProbe(port=taken.getsockname()[1]).version(pod(), "papers") is None


@pytest.mark.parametrize(
    ("before", "between"),
    [pytest.param(5.0, 0.0, id="silent"), pytest.param(0.0, 0.05, id="a-byte-now-and-then")],
)
def test_a_server_that_takes_its_time_is_not_waited_for(server: ChosenResponse, before: float, between: float) -> None:
    server.before, server.between = before, between
    began = time.monotonic()

    assert HttpProbe(port=server.port, seconds=0.2).version(pod(), "papers") is None
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"", id="of-the-status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", id="of-a-header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", id="of-the-body"),
    ],
)
def test_a_server_that_sends_a_byte_now_and_then_blocks_nothing(beginning: bytes) -> None:
    with dripping(beginning) as (port, between):
        began = time.monotonic()
        assert HttpProbe(port=port, seconds=4 * between).version(pod(), "papers") is None
        assert time.monotonic() - began < 40 * between


@contextmanager
def dripping(beginning: bytes) -> Iterator[tuple[int, float]]:
    """A port where whoever connects gets that, then a byte at a time without end; and the seconds between two bytes."""
    between, over = 0.05, threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(beginning)
            while not over.wait(between):
                connection.sendall(b"x")

    def accept() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1], between
        over.set()
        thread.join()


def test_a_name_cannot_lead_elsewhere(server: ChosenResponse) -> None:
    HttpProbe(port=server.port).version(pod(), "../../metrics?x")

    assert server.asked == ["/v2/models/..%2F..%2Fmetrics%3Fx"]
