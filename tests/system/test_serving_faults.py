"""The predictor under clients and surroundings that misbehave: slow, gone, too many, too large; and while it is stopped."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import onnx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from onnx import TensorProto, helper, numpy_helper

from model.artifact import GRAPH, MANIFEST, TOKENIZER, to_json
from tests.support.raw_http import HOST, Answer, ask, check_refusal, port_of, read_answer, request
from tests.support.servers import RunningServer, serving
from tests.support.versions import make_manifest, make_version

INFER, PREDICT = "/v2/models/papers/infer", "/v1/models/papers:predict"
PATIENCE = 60.0  # seconds that a test waits for anything
GRACE = 15.0
MEGABYTE = 1_000_000
LOST = (asyncio.IncompleteReadError, ConnectionError)


# --- servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("served")
    with many_connections(), serving(make_version(folder / "v1"), folder / "log", options=["--threads=1"]) as running:
        yield running


@pytest.fixture(scope="module")
def slow_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of which each batch takes a tenth of a second or more, however short its texts."""
    folder = make_version(tmp_path_factory.mktemp("slow") / "v1")
    slow_down(folder / GRAPH, products=12)
    (folder / MANIFEST).write_bytes(to_json(make_manifest(folder)))
    return folder


@pytest.fixture(scope="module")
def slow_server(slow_version: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(slow_version, tmp_path_factory.mktemp("log") / "log", options=["--threads=1"]) as running:
        learn_to_be_slow(running)
        yield running


def learn_to_be_slow(server: RunningServer) -> None:
    """Have the server see what a text costs, so that it computes one at a time."""
    for _ in range(3):
        check_healthy(server)


def slow_down(path: Path, *, products: int, side: int = 800) -> None:
    """Have the graph multiply large matrices for nothing. They depend on the input, so that no optimizer leaves them out."""
    model = onnx.load(str(path))
    steps = [f"product{at}" for at in range(products + 1)]
    nodes = [
        helper.make_node("ReduceMax", ["input_ids"], ["some_id"], keepdims=0),
        helper.make_node("Cast", ["some_id"], ["some_float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["unit", "some_float"], [steps[0]]),
        *(helper.make_node("MatMul", ["unit", before], [after]) for before, after in pairwise(steps)),
        helper.make_node("ReduceMax", [steps[-1]], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "nothing"], ["zero"]),
        helper.make_node("Add", ["quick", "zero"], ["logits"]),
    ]
    model.graph.node[-1].output[0] = "quick"
    model.graph.node.extend(nodes)
    constants = {"unit": np.eye(side, dtype=np.float32), "nothing": np.array(0, np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save(model, str(path))


@contextmanager
def many_connections() -> Iterator[None]:
    """Raise the limit of open files to the machine's maximum, for this process and the servers that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- asking -----------------------------------------------------------------------------------------------------------


def v2(*texts: str, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}], **more}


def post(*texts: str, **headers: str) -> bytes:
    return request("POST", INFER, json.dumps(v2(*texts)).encode(), Content_Type="application/json", **headers)


def message(*texts: str) -> Any:
    asked = messages.ModelInferRequest(model_name="papers")
    tensor = asked.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    tensor.contents.bytes_contents.extend(text.encode() for text in texts)
    return asked


def labels(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return list(json.loads(answer.body)["outputs"][0]["data"])


def run(work: Awaitable[Any]) -> Any:
    """The result of the work, within the patience of a test."""

    async def bounded() -> Any:
        async with asyncio.timeout(PATIENCE):
            return await work

    return asyncio.run(bounded())


def metric(server: RunningServer, name: str) -> float:
    text = httpx.get(server.rest + "/metrics", timeout=PATIENCE).text
    return float(re.findall(rf"^labelwright_predictor_{name} (\S+)$", text, re.MULTILINE)[0])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.02)


@asynccontextmanager
async def busy(server: RunningServer, *, requests: int = 1, texts: int = 1) -> AsyncIterator[list[asyncio.Task[Answer]]]:
    """While the one thread computes, which the first of these requests has come to; the others wait."""
    sent = post(*["cs.LG"] * texts)
    taken = metric(server, "queue_seconds_count")
    asking = [asyncio.create_task(ask(port_of(server.rest), sent))]
    await until(lambda: metric(server, "queue_seconds_count") > taken)
    asking += [asyncio.create_task(ask(port_of(server.rest), sent)) for _ in range(requests - 1)]
    await asyncio.sleep(0.02)
    yield asking
    assert [labels(each) for each in await asyncio.gather(*asking)] == [["cs.LG"] * texts] * requests


def check_healthy(server: RunningServer) -> None:
    assert server.process.poll() is None
    assert httpx.get(server.rest + "/v2/health/ready", timeout=PATIENCE).status_code == 200
    assert labels(run(ask(port_of(server.rest), post("stat.ML")))) == ["stat.ML"]


# --- slow clients -----------------------------------------------------------------------------------------------------


async def byte_by_byte(port: int, sent: bytes, *, seconds: float) -> Answer:
    reader, writer = await asyncio.open_connection(HOST, port)
    for at in range(len(sent)):
        writer.write(sent[at : at + 1])
        await writer.drain()
        await asyncio.sleep(seconds)
    answer = await read_answer(reader)
    writer.close()
    return answer


def test_a_client_that_sends_byte_by_byte_is_answered_and_does_not_delay_others(server: RunningServer) -> None:
    async def together() -> tuple[list[Answer], int]:
        slow = [asyncio.create_task(byte_by_byte(port_of(server.rest), post("cs.LG"), seconds=0.004)) for _ in range(20)]
        others = 0
        while not slow[0].done():
            assert labels(await ask(port_of(server.rest), post("stat.ML"))) == ["stat.ML"]
            others += 1
        return list(await asyncio.gather(*slow)), others

    answers, others = run(together())

    assert [labels(each) for each in answers] == [["cs.LG"]] * 20
    assert others > 10


def test_a_client_that_does_not_read_does_not_delay_others_and_may_read_later(server: RunningServer) -> None:
    """The unread responses have several megabytes, more than the kernel buffers."""
    asked = request("POST", INFER, json.dumps(v2(*["cs.LG"] * 1_024, parameters={"top_k": 3})).encode())

    async def together() -> list[Answer]:
        reader, writer = await asyncio.open_connection(HOST, port_of(server.rest))
        for _ in range(150):
            writer.write(asked)
        for _ in range(100):
            assert labels(await ask(port_of(server.rest), post("stat.ML"))) == ["stat.ML"]
        answers = [await read_answer(reader) for _ in range(150)]
        writer.close()
        return answers

    for answer in run(together()):
        assert len(labels(answer)) == 3 * 1_024


# --- clients that are gone --------------------------------------------------------------------------------------------


async def hang_up_over_rest(server: RunningServer, path: str = INFER) -> None:
    body = v2(*["gone"] * 50) if path == INFER else {"instances": ["gone"] * 50}
    _, writer = await asyncio.open_connection(HOST, port_of(server.rest))
    writer.write(request("POST", path, json.dumps(body).encode()))
    await writer.drain()
    await asyncio.sleep(0.15)
    writer.close()


async def hang_up_over_v1(server: RunningServer) -> None:
    await hang_up_over_rest(server, PREDICT)


async def hang_up_over_grpc(server: RunningServer) -> None:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        call = GRPCInferenceServiceStub(channel).ModelInfer(message(*["gone"] * 50))
        await asyncio.sleep(0.15)
        call.cancel()


@pytest.mark.parametrize(
    "hang_up",
    [
        pytest.param(hang_up_over_rest, id="v2"),
        pytest.param(hang_up_over_v1, id="v1"),
        pytest.param(hang_up_over_grpc, id="grpc"),
    ],
)
def test_texts_of_a_client_that_hangs_up_while_waiting_are_not_computed(slow_server: RunningServer, hang_up: Any) -> None:
    before = metric(slow_server, "texts_total")

    async def together() -> None:
        async with busy(slow_server, texts=10) as (computed,):
            await asyncio.gather(*(hang_up(slow_server) for _ in range(5)))
            assert not computed.done(), "the thread was free too soon to show anything"

    run(together())
    check_healthy(slow_server)

    assert metric(slow_server, "texts_total") - before == 10 + 1


# --- too many ---------------------------------------------------------------------------------------------------------


def affordable(wanted: int) -> int:
    """Return the number of connections that the limit of open files allows, at most `wanted`."""
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)


def test_of_10_000_requests_at_once_each_is_answered_or_refused_with_retry_after(server: RunningServer) -> None:
    count = 10_000

    async def together() -> list[Answer]:
        at_once = asyncio.Semaphore(affordable(count))

        async def one() -> Answer:
            async with at_once:
                return await ask(port_of(server.rest), post("cs.LG", "stat.ML"))

        return list(await asyncio.gather(*(one() for _ in range(count))))

    answers = run(together())

    assert Counter(each.status for each in answers).keys() <= {200, 429}
    assert len(answers) == count
    for answer in answers:
        check_answered_or_sent_away(answer, ["cs.LG", "stat.ML"])
    check_healthy(server)


def check_answered_or_sent_away(answer: Answer, expected: list[str]) -> None:
    if answer.status == 200:
        assert labels(answer) == expected
        return
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    check_refusal(answer)


@pytest.fixture(scope="module")
def short_queue(slow_version: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    options = ["--threads=1", "--queue-texts=4"]
    with serving(slow_version, tmp_path_factory.mktemp("log") / "log", options=options) as running:
        learn_to_be_slow(running)
        yield running


def test_requests_beyond_the_queue_get_retry_after(short_queue: RunningServer) -> None:
    async def together() -> list[Answer]:
        async with busy(short_queue):
            return list(await asyncio.gather(*(ask(port_of(short_queue.rest), post("cs.LG")) for _ in range(30))))

    answers = run(together())

    statuses = Counter(each.status for each in answers)
    assert statuses.keys() == {200, 429}
    assert statuses[200] >= 4
    for answer in answers:
        check_answered_or_sent_away(answer, ["cs.LG"])
    check_healthy(short_queue)


def test_requests_beyond_the_queue_get_429_over_v1_and_resource_exhausted_over_grpc(short_queue: RunningServer) -> None:
    v1 = request("POST", PREDICT, json.dumps({"instances": ["a"] * 4}).encode())

    async def together() -> tuple[Answer, Any]:
        async with busy(short_queue, requests=5), grpc.aio.insecure_channel(short_queue.grpc) as channel:
            answer = await ask(port_of(short_queue.rest), v1)
            with pytest.raises(grpc.RpcError) as failed:
                await GRPCInferenceServiceStub(channel).ModelInfer(message(*["a"] * 4))
        return answer, failed.value.code()

    answer, code = run(together())

    assert answer.status == 429
    check_answered_or_sent_away(answer, [])
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_health_answers_at_once_while_all_threads_are_busy_and_many_wait(slow_server: RunningServer) -> None:
    waits: list[float] = []

    async def together() -> float:
        began = time.monotonic()
        async with busy(slow_server, requests=20) as asking:
            while not all(each.done() for each in asking):
                before = time.monotonic()
                answer = await ask(port_of(slow_server.rest), request("GET", "/v2/health/ready"))
                waits.append(time.monotonic() - before)
                assert answer.status == 200
                await asyncio.sleep(0.005)
        return time.monotonic() - began

    seconds = run(together())

    assert len(waits) >= 5
    assert float(np.median(waits)) < 0.1
    assert max(waits) < seconds / 2  # a request in the queue waits for those before it


# --- one among many ---------------------------------------------------------------------------------------------------

BAD = [
    pytest.param(request("POST", INFER, b"{"), id="malformed"),
    pytest.param(request("POST", INFER, json.dumps(v2("a", parameters={"top_k": 0})).encode()), id="wrong-parameter"),
    pytest.param(request("POST", INFER, json.dumps(v2("a" * 1_000_001)).encode()), id="too-long"),
    pytest.param(request("POST", INFER, json.dumps(v2(*["a"] * 1_025)).encode()), id="too-many"),
    pytest.param(request("POST", INFER, b'{"inputs": ' + b"[" * 100_000), id="too-deep"),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_request_among_good_ones_harms_none(server: RunningServer, bad: bytes) -> None:
    texts = ["cs.LG", "stat.ML", "math.CO"]

    async def together() -> list[Answer]:
        sent = [post(texts[at % 3]) if at % 20 else bad for at in range(400)]
        return list(await asyncio.gather(*(ask(port_of(server.rest), each) for each in sent)))

    for at, answer in enumerate(run(together())):
        if at % 20:
            assert labels(answer) == [texts[at % 3]]
        else:
            assert answer.status == 400
            check_refusal(answer)


def test_texts_are_cut_at_the_maximum_length_and_counted(server: RunningServer) -> None:
    names = ("truncated_texts_total", "tokens_total", "texts_total")
    before = {name: metric(server, name) for name in names}
    fits, too_long = "word " * 15 + "cs.LG", "word " * 16 + "cs.LG"
    answer = run(ask(port_of(server.rest), request("POST", INFER, json.dumps(v2(fits, too_long, "cs.LG " * 100, "")).encode())))
    grown = {name: metric(server, name) - before[name] for name in names}

    assert len(labels(answer)) == 4
    assert json.loads(answer.body)["outputs"][1]["data"][:3] == [
        pytest.approx(0.880797, abs=1e-5),
        pytest.approx(0.119203, abs=1e-5),
        pytest.approx(0.880797, abs=1e-5),
    ]
    assert grown == {"truncated_texts_total": 2, "tokens_total": 48, "texts_total": 4}


# --- too large --------------------------------------------------------------------------------------------------------


def most_memory(server: RunningServer) -> float:
    """Megabytes of memory that the server has had at most."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1_000


def in_parts(size: int) -> Iterator[bytes]:
    for _ in range(size // MEGABYTE):
        yield b"x" * MEGABYTE


BODY = 50 * MEGABYTE


def with_length(address: str) -> httpx.Response:
    return httpx.post(address, content=in_parts(BODY), headers={"Content-Length": str(BODY)}, timeout=PATIENCE)


def in_chunks(address: str) -> httpx.Response:
    return httpx.post(address, content=in_parts(BODY), timeout=PATIENCE)


@pytest.mark.parametrize("path", [pytest.param(INFER, id="v2"), pytest.param(PREDICT, id="v1")])
@pytest.mark.parametrize("send", [pytest.param(with_length, id="content-length"), pytest.param(in_chunks, id="chunked")])
def test_a_body_of_50_megabytes_is_refused_unread(server: RunningServer, send: Any, path: str) -> None:
    httpx.post(server.rest + INFER, content=b" " * 16 * MEGABYTE, timeout=PATIENCE)
    before = most_memory(server)
    answer = send(server.rest + path)

    assert answer.status_code == 413
    check_refusal(Answer(answer.status_code, dict(answer.headers), answer.content))
    assert most_memory(server) - before < 25
    check_healthy(server)


@pytest.mark.parametrize("chunked", [pytest.param(False, id="content-length"), pytest.param(True, id="chunked")])
def test_a_client_that_reads_only_once_it_has_sent_learns_that_its_body_is_too_large(
    server: RunningServer, chunked: bool
) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {BODY}"

    async def send_all_then_read() -> Answer:
        reader, writer = await asyncio.open_connection(HOST, port_of(server.rest))
        writer.write(f"POST {INFER} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
        for part in in_parts(BODY):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            await writer.drain()
        writer.write(b"0\r\n\r\n" if chunked else b"")
        answer = await read_answer(reader)
        assert await reader.read() == b""
        writer.close()
        return answer

    answer = run(send_all_then_read())

    assert answer.status == 413
    assert answer.closes
    check_refusal(answer)


@pytest.mark.parametrize("path", [pytest.param(INFER, id="v2"), pytest.param(PREDICT, id="v1")])
def test_many_large_bodies_at_once_are_held_up_to_a_limit_and_small_ones_are_answered(server: RunningServer, path: str) -> None:
    size = 16 * MEGABYTE
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    before = most_memory(server)

    async def send_all_but_the_end() -> Answer | None:
        """Return the response before the end of the request; None if the server waits for the end."""
        reader, writer = await asyncio.open_connection(HOST, port_of(server.rest))
        writers.append(writer)
        with suppress(ConnectionError):
            writer.write(head + b" " * (size - 100))
            await writer.drain()
        with suppress(TimeoutError, *LOST):
            async with asyncio.timeout(2):
                return await read_answer(reader)
        return None

    writers: list[asyncio.StreamWriter] = []

    async def test() -> list[Answer | None]:
        answers = await asyncio.gather(*(send_all_but_the_end() for _ in range(30)))
        assert labels(await ask(port_of(server.rest), post("stat.ML"))) == ["stat.ML"]
        for writer in writers:
            writer.close()
        return answers

    answers = run(test())

    refused = [answer for answer in answers if answer is not None]
    assert {(answer.status, answer.headers["retry-after"]) for answer in refused} == {(429, "1")}
    assert len(answers) - len(refused) == 4
    assert most_memory(server) - before < 200
    run(until(lambda: httpx.post(server.rest + path, content=b" " * size, timeout=PATIENCE).status_code == 400))  # room again


@pytest.mark.parametrize("line", [pytest.param(b"x" * MEGABYTE, id="one-header"), pytest.param(b"X: a\r\n" * 170_000, id="many")])
def test_headers_without_end_do_not_grow_the_memory(server: RunningServer, line: bytes) -> None:
    before = most_memory(server)
    with socket.create_connection((HOST, port_of(server.rest)), timeout=PATIENCE) as connection, suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nY: ")
        for _ in range(30):
            connection.sendall(line)

    check_healthy(server)
    assert most_memory(server) - before < 25


def test_clients_that_watch_or_are_refused_keep_no_large_message_from_others(server: RunningServer) -> None:
    right = message("some words " * 20_000)
    large = message(*["a"] * 1_300_000)
    with grpc.insecure_channel(server.grpc) as channel:
        health, inference = HealthStub(channel), GRPCInferenceServiceStub(channel)
        watching = [health.Watch(HealthCheckRequest(service="x" * 3_900_000)) for _ in range(10)]
        for each in watching:
            with pytest.raises(grpc.RpcError) as failed:
                next(each)
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for _ in range(10):
            with pytest.raises(grpc.RpcError) as failed:
                inference.ModelInfer(large)
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [inference.ModelInfer(right).model_name for _ in range(5)] == ["papers"] * 5


def test_a_message_of_50_megabytes_is_refused_over_grpc(server: RunningServer) -> None:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options=options) as channel, pytest.raises(grpc.RpcError) as failed:
        GRPCInferenceServiceStub(channel).ModelInfer(message("x" * BODY), timeout=PATIENCE)

    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    check_healthy(server)


# --- stopping ---------------------------------------------------------------------------------------------------------


@dataclass
class Load:
    """Results of clients that send requests without pause, by the time of the request."""

    stopped_at: float = float("inf")
    answered: list[tuple[float, int]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    lost: list[tuple[str, float]] = field(default_factory=list)
    readiness: list[tuple[float, int]] = field(default_factory=list)
    readiness_before: list[int] = field(default_factory=list)
    told_to_go: int = 0


async def keep_asking_on_one_connection(server: RunningServer, load: Load) -> None:
    """Until an answer says that the connection closes."""
    reader, writer = await asyncio.open_connection(HOST, port_of(server.rest))
    while True:
        asked_at = time.monotonic()
        try:
            writer.write(post("cs.LG"))
            answer = await read_answer(reader)
        except LOST:
            load.lost.append(("keep-alive", asked_at - load.stopped_at))
            return
        load.answered.append((asked_at, answer.status))
        if answer.closes:
            load.told_to_go += 1
            writer.close()
            return


async def keep_asking_on_new_connections(server: RunningServer, load: Load, sent: bytes, seen: list[tuple[float, int]]) -> None:
    """Send requests until the server does not listen. A connection made after the signal may be cut before it is accepted."""
    while True:
        asked_at = time.monotonic()
        try:
            seen.append((asked_at, (await ask(port_of(server.rest), sent)).status))
        except ConnectionRefusedError:
            return
        except LOST:
            if asked_at < load.stopped_at:
                load.lost.append(("new connection", asked_at - load.stopped_at))
                return
            load.refused.append(asked_at)
        await asyncio.sleep(0.01)


async def keep_asking_over_grpc(server: RunningServer, load: Load) -> None:
    """Until the server is not available."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        while True:
            asked_at = time.monotonic()
            try:
                await stub.ModelInfer(message("cs.LG"), timeout=PATIENCE)
                load.answered.append((asked_at, 200))
            except grpc.RpcError as failed:
                if failed.code() is not grpc.StatusCode.UNAVAILABLE or asked_at < load.stopped_at:
                    load.lost.append((f"grpc {failed.code()} {failed.details()}", asked_at - load.stopped_at))
                return


async def stop_under_load(server: RunningServer, load: Load) -> tuple[int, float]:
    """The exit status, and the seconds until it."""
    health = request("GET", "/v2/health/ready", Connection="close")
    clients = [asyncio.create_task(keep_asking_on_one_connection(server, load)) for _ in range(10)]
    clients += [
        asyncio.create_task(keep_asking_on_new_connections(server, load, post("cs.LG", Connection="close"), load.answered))
        for _ in range(5)
    ]
    clients += [asyncio.create_task(keep_asking_over_grpc(server, load)) for _ in range(5)]
    clients += [asyncio.create_task(keep_asking_on_new_connections(server, load, health, load.readiness))]
    await until(lambda: len(load.answered) > 30 and len(load.readiness) > 10)
    load.readiness_before = [code for _, code in load.readiness]
    load.stopped_at = time.monotonic()
    server.process.terminate()
    status = await asyncio.to_thread(server.process.wait, PATIENCE)
    took = time.monotonic() - load.stopped_at
    await asyncio.gather(*clients)
    return status, took


@dataclass(frozen=True)
class Stopped:
    """Result of stopping a server under load."""

    load: Load
    status: int
    seconds: float
    log: str


@pytest.fixture(scope="module")
def stopped(slow_version: Path, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    load, log = Load(), tmp_path_factory.mktemp("stopped") / "log"
    with serving(slow_version, log, options=["--threads=1", f"--grace-seconds={GRACE}"]) as running:
        status, seconds = run(stop_under_load(running, load))
    return Stopped(load, status, seconds, log.read_text())


def test_sigterm_under_load_loses_no_request(stopped: Stopped) -> None:
    load = stopped.load

    assert load.lost == []
    assert {code for at, code in load.answered if at < load.stopped_at} == {200}
    assert {code for at, code in load.answered if at >= load.stopped_at} <= {200, 503}
    assert load.told_to_go == 10


def test_sigterm_under_load_ends_the_process_with_0_in_the_grace_period(stopped: Stopped) -> None:
    assert (stopped.status, stopped.seconds < GRACE) == (0, True)
    assert "Traceback" not in stopped.log


def test_readiness_falls_at_once_when_stopping(stopped: Stopped) -> None:
    load = stopped.load
    fallen = [at for at, code in load.readiness if code == 503]

    assert set(load.readiness_before) == {200}
    assert fallen, "the process was gone before it said that it was not ready"
    assert fallen[0] - load.stopped_at < 1.0
    assert {code for at, code in load.readiness if at > fallen[0]} <= {503}


def test_while_stopping_the_connected_get_one_more_answer_and_newcomers_get_503(slow_version: Path, tmp_path: Path) -> None:
    async def stop(running: RunningServer) -> tuple[Answer, Answer, list[Answer]]:
        port = port_of(running.rest)
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(post("cs.LG"))
        assert not (await read_answer(reader)).closes
        waiting = [asyncio.create_task(ask(port, post("stat.ML"))) for _ in range(10)]
        await asyncio.sleep(0.1)
        running.process.terminate()
        await asyncio.sleep(0.2)
        newcomer = await ask(port, post("cs.LG"))
        writer.write(post("math.CO"))
        connected = await read_answer(reader)
        assert await reader.read() == b""
        writer.close()
        return connected, newcomer, list(await asyncio.gather(*waiting))

    with serving(slow_version, tmp_path / "log", options=["--threads=1"]) as running:
        connected, newcomer, waited = run(stop(running))
        assert running.process.wait(PATIENCE) == 0

    assert labels(connected) == ["math.CO"]
    assert connected.closes
    assert newcomer.status == 503
    assert list(json.loads(newcomer.body)) == ["error"]
    assert [labels(each) for each in waited] == [["stat.ML"]] * 10


def test_clients_that_neither_ask_nor_leave_do_not_hold_up_the_end(server: RunningServer, tmp_path: Path) -> None:
    with serving(make_version(tmp_path / "v1"), tmp_path / "log", options=["--grace-seconds=6"]) as running:
        port = port_of(running.rest)
        silent = [socket.create_connection((HOST, port)) for _ in range(3)]
        silent[1].sendall(b"GET / HT")
        silent[2].sendall(post("cs.LG")[:-5])
        check_healthy(running)
        before = time.monotonic()
        assert running.terminate() == 0
        took = time.monotonic() - before
        for each in silent:
            each.close()

    assert took < 8


def test_more_work_than_the_grace_period_allows_is_refused_at_its_end(slow_version: Path, tmp_path: Path) -> None:
    async def stop(running: RunningServer) -> tuple[float, list[Answer | BaseException]]:
        asking = [asyncio.create_task(ask(port_of(running.rest), post(*["cs.LG"] * 1_000))) for _ in range(2)]
        await asyncio.sleep(0.3)
        before = time.monotonic()
        running.process.terminate()
        assert await asyncio.to_thread(running.process.wait, PATIENCE) == 0
        return time.monotonic() - before, await asyncio.gather(*asking, return_exceptions=True)

    with serving(slow_version, tmp_path / "log", options=["--threads=1", "--grace-seconds=5"]) as running:
        learn_to_be_slow(running)
        took, answers = run(stop(running))

    assert took < 7
    for answer in answers:
        assert isinstance(answer, Answer)
        assert answer.status == 503, answer
        assert list(json.loads(answer.body)) == ["error"]
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_requests_that_are_cut_off_at_the_end_of_the_grace_period_are_counted_in_the_log(
    slow_version: Path, tmp_path: Path
) -> None:
    async def stop(running: RunningServer) -> int:
        texts = ["cs.LG"] * 500
        async with grpc.aio.insecure_channel(running.grpc) as channel:
            asking = [asyncio.create_task(ask(port_of(running.rest), post(*texts))) for _ in range(2)]
            call = GRPCInferenceServiceStub(channel).ModelInfer(message(*texts))
            await asyncio.sleep(0.3)
            running.process.terminate()
            status = await asyncio.to_thread(running.process.wait, PATIENCE)
            await asyncio.gather(*asking, return_exceptions=True)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
        return status

    with serving(slow_version, tmp_path / "log", options=["--threads=1", "--grace-seconds=2"]) as running:
        learn_to_be_slow(running)
        assert run(stop(running)) == 0

    assert " WARNING model.serving.server: requests cut off at the end of the grace period: 3\n" in (tmp_path / "log").read_text()


def test_a_grace_period_of_a_second_is_kept(slow_version: Path, tmp_path: Path) -> None:
    with serving(slow_version, tmp_path / "log", options=["--threads=1", "--grace-seconds=1"]) as running:
        with socket.create_connection((HOST, port_of(running.rest)), timeout=PATIENCE) as connection:
            connection.sendall(post(*["cs.LG"] * 1_000))
            time.sleep(0.3)
            before = time.monotonic()
            assert running.terminate() == 0

        assert time.monotonic() - before < 2.5


# --- a version that was altered ---------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(bytes(content))


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_version(path: Path) -> None:
    other = make_version(path.parent.parent / "other", labels=("one", "two"))
    path.write_bytes((other / path.name).read_bytes())


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARMLESS_TO_A_MANIFEST = (append, of_another_version)  # a line more says the same; the other files are then those altered


@pytest.mark.parametrize("harm", [flip, append, empty, of_another_version, Path.unlink, replaced_by_a_folder])
def test_a_version_that_was_altered_is_refused_with_the_files_name(tmp_path: Path, harm: Any) -> None:
    altered = {}
    for name in (GRAPH, TOKENIZER, *([MANIFEST] if harm not in HARMLESS_TO_A_MANIFEST else [])):
        folder = make_version(tmp_path / name / "v1")
        harm(folder / name)
        altered[name] = start(folder)

    for name, process in altered.items():
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, said
        assert said.startswith("Error: "), said
        assert said.count("\n") == 1, said
        assert name in said, said


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "model.serving", str(folder), "--host=127.0.0.1", "--port=0", "--grpc-port=0"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
