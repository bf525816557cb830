"""The predictor's memory while clients send the worst that is let in, over both protocols at once."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.support.raw_http import HOST, port_of, request
from tests.support.servers import RunningServer, serving
from tests.support.unfinished_messages import UnfinishedMessages
from tests.support.versions import make_version

INFER, PREDICT = "/v2/models/papers/infer", "/v1/models/papers:predict"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
PATIENCE = 120.0
MEBIBYTE = 2**20
MOST = 400  # MiB of this small version: below 512, the memory limit, by more than a larger one takes besides
BODY, MESSAGE = 16 * MEBIBYTE - 4096, 8 * MEBIBYTE - 4096  # bytes, just within the limits
CHARACTERS = 3_990_000  # of a request, just within the limit
WIDE = "x" * 990_000 + "\U0001f600"  # four bytes of memory for each of its characters
LIGATURE = "\ufdfa"  # of which normalising makes 18 characters
CLIENTS = 12  # of each protocol at a time
STALLED = 400  # connections

Send = Callable[[RunningServer], str]  # gives the status


def v2(*texts: str) -> bytes:
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return json.dumps({"inputs": [tensor]}, ensure_ascii=False).encode()


def over_rest(body: bytes, path: str = INFER) -> Send:
    def send(server: RunningServer) -> str:
        try:
            return str(httpx.post(server.rest + path, content=body, timeout=PATIENCE).status_code)
        except httpx.TransportError:
            return "closed"  # told too soon to be read, while the body was on its way

    return send


def over_grpc(*texts: bytes, raw: bool = False) -> Send:
    asked = messages.ModelInferRequest(model_name="papers")
    tensor = asked.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    if raw:
        asked.raw_input_contents.append(b"".join(struct.pack("<I", len(each)) + each for each in texts))
    else:
        tensor.contents.bytes_contents.extend(texts)

    def send(server: RunningServer) -> str:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(server.grpc, options=options) as channel:
            try:
                GRPCInferenceServiceStub(channel).ModelInfer(asked, timeout=PATIENCE)
            except grpc.RpcError as refused:
                return str(refused.code().name)
        return "OK"

    return send


def hostile() -> tuple[list[Send], list[Send]]:
    """Return the hostile requests over REST and those over gRPC."""
    escaped = (r"\u00e9" * 300_000).encode()
    rest = [
        over_rest(v2(*[WIDE] * 4)),
        over_rest(v2(*[LIGATURE * 3_890] * 1_024)),
        over_rest(v2(*[LIGATURE * 990_000] * 4)),
        over_rest(v2(*["dark matter " * 320] * 1_024)),
        over_rest(json.dumps({"instances": [WIDE] * 4}, ensure_ascii=False).encode(), PREDICT),
        over_rest(b'{"inputs":[{"name":"text","shape":[9],"datatype":"BYTES","data":["' + b'","'.join([escaped] * 9) + b'"]}]}'),
        over_rest(b'{"instances":["' + b'","'.join([escaped] * 9) + b'"]}', PREDICT),
        over_rest(v2("x" * (BODY - 200))),
        over_rest(b"[" * BODY),
        over_rest(b'{"inputs":[' + b'"",' * (BODY // 3 - 10) + b'""]}'),
        over_rest(b"\xff" * BODY, PREDICT),
    ]
    rpc = [
        over_grpc(*[b"x" * 990_000 + "\U0001f600".encode()] * 4),
        over_grpc(*[b"x" * 990_000 + "\U0001f600".encode()] * 4, raw=True),
        over_grpc(*[LIGATURE.encode() * 3_890] * (MESSAGE // (3 * 3_890) - 1)),
        over_grpc(*[LIGATURE.encode() * 3_890] * (MESSAGE // (3 * 3_890) - 1), raw=True),
        over_grpc(*[b"a"] * (MESSAGE // 3)),
        over_grpc(b"x" * MESSAGE),
    ]
    return rest, rpc


@contextmanager
def stalled(server: RunningServer) -> Iterator[None]:
    """Connections on which requests began and do not go on."""
    kinds = [request("POST", INFER, b" " * 60_000)[:-100], b"GET / HTTP/1.1\r\nX: " + b"x" * 50_000, b""]
    with ExitStack() as stack:
        for at in range(STALLED):
            connection = stack.enter_context(socket.create_connection((HOST, port_of(server.rest)), timeout=PATIENCE))
            connection.sendall(kinds[at % len(kinds)])
        yield


class Memory:
    """The most memory that a process had of its own, without the pages of files, while this was entered."""

    def __init__(self, server: RunningServer) -> None:
        self._status = Path(f"/proc/{server.process.pid}/status")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0.0

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def now(self) -> float:
        """MiB."""
        return int(re.findall(r"RssAnon:\s+(\d+) kB", self._status.read_text())[0]) / 1024

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.most = max(self.most, self.now())


def image_environment() -> dict[str, str]:
    """Return the environment by which the predictor's image returns memory to the system."""
    dockerfile = Path(__file__).parents[2] / "Dockerfile.serve"
    return dict(re.findall(r"\b(MALLOC_\w+)=(\d+)", dockerfile.read_text()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("served")
    version = make_version(folder / "v1", max_length=512)
    with serving(version, folder / "log", options=["--threads=2"], environment=image_environment()) as running:
        yield running


def test_clients_that_send_the_worst_at_once_do_not_take_the_predictor_over_its_memory_limit(server: RunningServer) -> None:
    rest, rpc = hostile()
    answers: Counter[str] = Counter()
    with Memory(server) as memory, stalled(server), ThreadPoolExecutor(CLIENTS) as one, ThreadPoolExecutor(CLIENTS) as another:
        sent = [one.submit(each, server) for each in rest * 2] + [another.submit(each, server) for each in rpc * 3]
        answers.update(each.result() for each in sent)

    assert memory.most < MOST, answers
    assert set(answers) <= {"200", "400", "413", "429", "closed", "OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
    assert answers["200"] + answers["OK"], answers
    assert server.process.poll() is None
    answer: Any = httpx.post(server.rest + INFER, content=v2("stat.ML"), timeout=PATIENCE).json()
    assert answer["outputs"][0]["data"] == ["stat.ML"]


def test_messages_that_never_end_hold_little_memory_together_and_exclude_no_other_client_of_grpc(server: RunningServer) -> None:
    """16 connections begin 128 messages of 8 MiB, a gigabyte. Without a limit on all of them, gRPC would hold what was sent."""

    async def attack() -> tuple[int, set[str]]:
        answers = set()
        async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
            attackers = [UnfinishedMessages(port_of(server.grpc), MODEL_INFER, size=MESSAGE) for _ in range(16)]
            for each in attackers:
                await stack.enter_async_context(each)
                each.begin(8)
            while sum(each.sent for each in attackers) < MOST * MEBIBYTE:
                answers.add(await asyncio.to_thread(over_grpc(b"stat.ML"), server))
            return sum(len(each.ended) for each in attackers), answers

    with Memory(server) as memory:
        ended, answers = asyncio.run(attack())

    assert memory.most < MOST
    assert ended
    assert answers == {"OK"}
