"""A server under a steady load of every protocol: no error, and nothing that grows.

`benchmarks/serving.py --soak` does it for half an hour, near the most that the server can do.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.support.servers import RunningServer, serving
from tests.support.versions import make_version

SECONDS, SETTLED = 20.0, 8.0
PAUSE = 0.01  # between a client's requests
CLIENTS = 3  # of each kind
TEXTS = ["cs.LG", "stat.ML " * 200, "", "hep-th 😀"]


@dataclass(frozen=True)
class Held:
    """Resources that the process holds."""

    megabytes: float
    threads: int
    files: int

    @classmethod
    def by(cls, server: RunningServer) -> Held:
        process = Path(f"/proc/{server.process.pid}")
        status = (process / "status").read_text()
        kilobytes, threads = (int(re.findall(rf"{name}:\s+(\d+)", status)[0]) for name in ("VmRSS", "Threads"))
        return cls(kilobytes / 1_000, threads, len(list((process / "fd").iterdir())))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("served")
    with serving(make_version(folder / "v1"), folder / "log") as running:
        yield running


@asynccontextmanager
async def rest(server: RunningServer, path: str, body: dict[str, Any]) -> AsyncIterator[Any]:
    async with httpx.AsyncClient(base_url=server.rest) as client:

        async def ask() -> None:
            (await client.post(path, json=body)).raise_for_status()

        yield ask


@asynccontextmanager
async def rpc(server: RunningServer) -> AsyncIterator[Any]:
    asked = messages.ModelInferRequest(model_name="papers")
    asked.inputs.add(name="text", datatype="BYTES", shape=[len(TEXTS)]).contents.bytes_contents.extend(map(str.encode, TEXTS))
    async with grpc.aio.insecure_channel(server.grpc) as channel:

        async def ask() -> None:
            await GRPCInferenceServiceStub(channel).ModelInfer(asked)

        yield ask


async def keep_asking(clients: Any, until: float) -> int:
    """Requests answered, by one client after the other. Raises at the first error."""
    answered = 0
    while time.monotonic() < until:
        async with clients() as ask:
            for _ in range(20):
                await ask()
                answered += 1
                await asyncio.sleep(PAUSE)
    return answered


def test_a_steady_load_meets_no_error_and_leaves_nothing_behind(server: RunningServer) -> None:
    v2 = {"inputs": [{"name": "text", "shape": [len(TEXTS)], "datatype": "BYTES", "data": TEXTS}]}
    kinds = [
        lambda: rest(server, "/v2/models/papers/infer", v2),
        lambda: rest(server, "/v1/models/papers:predict", {"instances": TEXTS}),
        lambda: rpc(server),
    ]

    async def test() -> list[int]:
        until = time.monotonic() + SECONDS
        clients = [asyncio.create_task(keep_asking(kind, until)) for kind in kinds for _ in range(CLIENTS)]
        await asyncio.sleep(SETTLED)
        settled.append(Held.by(server))
        return await asyncio.gather(*clients)

    settled: list[Held] = []
    answered = asyncio.run(test())
    httpx.get(server.rest + "/metrics").raise_for_status()

    before, after = settled[0], Held.by(server)
    assert min(answered) > 0
    assert after.megabytes - before.megabytes < 5
    assert after.threads <= before.threads
    assert after.files <= before.files
