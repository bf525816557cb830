"""Client of the serving benchmark: a process that sends requests over several connections and times the responses.

    python benchmarks/serving_client.py SPEC

SPEC is a JSON file with the fields of `ClientSpec`; the figures are printed as JSON. The client is cheap, so that the server is
the bottleneck: requests are encoded beforehand, responses are parsed by httptools on uvloop, and only a sample of them is kept
and checked after the measurement.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httptools
import numpy as np
import uvloop
from serving_processes import cpu_seconds, machine_cpu_seconds, resident_megabytes

KEEP_EVERY = 20  # answers of which one is looked at
MOST_KEPT = 300
DRAIN_SECONDS = 20.0  # maximum wait for the last responses


@dataclass(frozen=True)
class ClientSpec:
    """Load to send.

    bodies: JSON of the requests, sent in turn.
    rate: requests a second that are sent whatever is answered (open loop); 0: the next request after each answer.
    warm_up, seconds: the time before measuring, and of measuring.
    answer: the kind of answer that is right, a key of `CHECKS`.
    pid: the server's process, whose CPU and memory are read; its children are counted in.
    every: seconds after which a line of `history` is written; 0: no history.
    """

    port: int
    path: str
    bodies: list[str]
    connections: int
    warm_up: float
    seconds: float
    answer: str
    pid: int
    rate: float = 0.0
    every: float = 0.0

    def requests(self) -> list[bytes]:
        """Return the bytes of each request."""
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
        encoded = (each.encode() for each in self.bodies)
        return [f"{head}{len(each)}\r\n\r\n".encode() + each for each in encoded]


@dataclass
class Tally:
    """Counts since it was created."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    answers: list[bytes] = field(default_factory=list)
    first_error: str = ""

    def failed(self, why: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or why[:300]


class Client:
    """Dispatcher of requests to connections. `tally` may be replaced at any time."""

    def __init__(self, load: ClientSpec) -> None:
        self.load = load
        self.tally = Tally()
        self.stopping = False
        self.busy = 0
        self._requests: Iterator[bytes] = cycle(load.requests())
        self._idle: list[ClientConnection] = []
        self._due: deque[float] = deque()

    async def open(self) -> None:
        """Open every connection; without a rate, each one sends its first request."""
        for _ in range(self.load.connections):
            await self._connect()
        if self.load.rate:
            asyncio.get_running_loop().create_task(self._pace())

    def free(self, connection: ClientConnection) -> None:
        """Give the connection its next request, or keep it idle until one is due."""
        if self.stopping:
            return
        if not self.load.rate:
            connection.ask(next(self._requests), time.perf_counter())
        elif self._due:
            connection.ask(next(self._requests), self._due.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: ClientConnection) -> None:
        """Replace a connection that the server closed; an error if it waited for a response."""
        if connection.waiting:
            self.busy -= 1
            self.tally.failed("the server closed the connection before its answer")
        elif connection in self._idle:
            self._idle.remove(connection)
        if not self.stopping:
            asyncio.get_running_loop().create_task(self._connect())

    async def drain(self) -> None:
        """Stop sending and wait for all responses, since a server with a queue would still be busy in the next measurement."""
        self.stopping = True
        deadline = time.perf_counter() + DRAIN_SECONDS
        while self.busy and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: ClientConnection(self), "127.0.0.1", self.load.port)

    async def _pace(self) -> None:
        """Send a request each 1/rate seconds. If no connection is free it waits, and the wait counts."""
        due = time.perf_counter()
        while not self.stopping:
            now = time.perf_counter()
            while due <= now:
                if self._idle:
                    self._idle.pop().ask(next(self._requests), due)
                else:
                    self._due.append(due)
                due += 1 / self.load.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


class ClientConnection(asyncio.Protocol):
    """Connection that sends a request, reads its response, and sends the next one."""

    def __init__(self, client: Client) -> None:
        self.waiting = False
        self._client = client
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self._asked = 0.0
        self._answered = 0
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._client.free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio gives it
        self._client.lost(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def ask(self, request: bytes, asked: float) -> None:
        """Send a request, whose time counts from `asked`."""
        self._asked = asked
        self.waiting = True
        self._client.busy += 1
        self._body.clear()
        self._transport.write(request)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, called by httptools."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Count a complete response, called by httptools."""
        self.waiting = False
        self._client.busy -= 1
        tally = self._client.tally
        if self._parser.get_status_code() in (200, 202):
            tally.latencies.append(time.perf_counter() - self._asked)
            self._answered += 1
            if self._answered % KEEP_EVERY == 1 and len(tally.answers) < MOST_KEPT:
                tally.answers.append(b"".join(self._body))
        else:
            tally.failed(f"{self._parser.get_status_code()}: {b''.join(self._body).decode(errors='replace')}")
        self._client.free(self)


async def drive(load: ClientSpec) -> dict[str, Any]:
    """Warm up, measure, check the sample."""
    client = Client(load)
    await client.open()
    await asyncio.sleep(load.warm_up)
    tally = client.tally = Tally()
    everyone = machine_cpu_seconds()
    began, own, servers = time.perf_counter(), time.process_time(), cpu_seconds(load.pid)
    history = await _watch(load, tally)
    seconds = time.perf_counter() - began
    own, servers = time.process_time() - own, cpu_seconds(load.pid) - servers
    everyone = machine_cpu_seconds() - everyone
    client.tally = Tally()  # what comes now is not counted
    await client.drain()
    wrong = [why for each in tally.answers if (why := CHECKS[load.answer](each))]
    p50, p95, p99 = percentiles(tally.latencies)
    return {
        "requests": len(tally.latencies) / seconds,
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "errors": tally.errors + len(wrong),
        "first_error": tally.first_error or next(iter(wrong), ""),
        "looked_at": len(tally.answers),
        "server_cpu": servers / seconds,
        "client_cpu": own / seconds,
        "others_cpu": max(0.0, everyone - own - servers) / seconds,
        "resident": resident_megabytes(load.pid),
        "history": history,
    }


async def _watch(load: ClientSpec, tally: Tally) -> list[dict[str, float]]:
    """Wait while the client measures; return a line for each interval, if there are any."""
    if not load.every:
        await asyncio.sleep(load.seconds)
        return []
    began, seen, errors = time.perf_counter(), 0, 0
    history = [{"at": 0.0, "resident": resident_megabytes(load.pid)}]
    while (at := time.perf_counter() - began) < load.seconds:
        await asyncio.sleep(min(load.every, load.seconds - at))
        fresh, seen = tally.latencies[seen:], len(tally.latencies)
        line = {"at": time.perf_counter() - began, "resident": resident_megabytes(load.pid)}
        history.append(line | {"requests": len(fresh), "p99": percentiles(fresh)[2], "errors": tally.errors - errors})
        errors = tally.errors
    return history


def percentiles(seconds: list[float]) -> tuple[float, float, float]:
    """Return p50, p95 and p99 in milliseconds; -1 without any response."""
    if not seconds:
        return -1.0, -1.0, -1.0
    p50, p95, p99 = (float(each) for each in np.percentile(np.array(seconds) * 1000, [50, 95, 99]))
    return p50, p95, p99


def _labels(answer: bytes) -> str:
    """Check a response of Labelwright: the first label of each text has a name."""
    outputs = {each["name"]: each for each in json.loads(answer)["outputs"]}
    texts, most = outputs["labels"]["shape"]
    first = outputs["labels"]["data"][::most]
    return "" if len(first) == texts and all(first) else f"a text without labels: {answer[:200]!r}"


def _probabilities(answer: bytes) -> str:
    """Check a response of kserve-torch: a probability for each label."""
    output = json.loads(answer)["outputs"][0]
    right = len(output["data"]) == output["shape"][0] * output["shape"][1] and all(0 <= each <= 1 for each in output["data"])
    return "" if right else f"not probabilities: {answer[:200]!r}"


def _best(answer: bytes) -> str:
    """Check a response of MLServer: JSON in JSON, the best label of each text."""
    outputs = [json.loads(each) for each in json.loads(answer)["outputs"][0]["data"]]
    return "" if outputs and all(each["label"] and each["score"] for each in outputs) else f"no label: {answer[:200]!r}"


def _anything(_: bytes) -> str:
    return ""


CHECKS = {"labels": _labels, "probabilities": _probabilities, "best": _best, "anything": _anything}


def main() -> None:
    """Run the load of the given file."""
    load = ClientSpec(**json.loads(Path(sys.argv[1]).read_bytes()))
    print(json.dumps(uvloop.run(drive(load))))


if __name__ == "__main__":
    main()
