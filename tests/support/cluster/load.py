"""Send requests to a predictor over several protocols at once until /tmp/stop exists: `load.py HOST MODEL`, in a Pod.

Prints a line of JSON a second, and one at the end: {way: {version: answers}} under "answers", and under "failures" what
was not answered with 200 and a version. A way is a thread; nothing is ever tried twice.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

HOST, MODEL = sys.argv[1:]
STOP = Path("/tmp/stop")
PAUSE = 0.05  # seconds between an answer and the next request; the cluster may be a small one
LONG_PAUSE = 1.5  # of a client with a pool: the server may be gone when it asks again
PATIENCE = 10.0
TEXT = "cs.LG and math.CO"
BODY = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT]}]})


def over_rest(connection: http.client.HTTPConnection) -> str:
    """Send a request, and return the version that answered. A closed or broken connection is opened again."""
    try:
        connection.request("POST", f"/v2/models/{MODEL}/infer", BODY)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        raise
    if answer.status != 200:
        raise ValueError(f"{answer.status} {content[:200]!r}")
    return str(json.loads(content)["model_version"])


def over_grpc(channel: grpc.Channel) -> str:
    tensor = messages.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(TEXT.encode())
    request = messages.ModelInferRequest(model_name=MODEL, inputs=[tensor])
    return str(GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=PATIENCE).model_version)


def connection() -> http.client.HTTPConnection:
    return http.client.HTTPConnection(HOST, 80, timeout=PATIENCE)


def channel() -> grpc.Channel:
    # Of its own: channels share their connections otherwise.
    return grpc.insecure_channel(f"{HOST}:8081", options=[("grpc.use_local_subchannel_pool", 1)])


def kept(opened: Any, ask: Callable[[Any], str]) -> Callable[[], str]:
    return lambda: ask(opened)


def renewed(open_one: Callable[[], Any], ask: Callable[[Any], str]) -> Callable[[], str]:
    def once() -> str:
        opened = open_one()
        try:
            return ask(opened)
        finally:
            opened.close()

    return once


class RequestLoad:
    """Threads that send requests, and their responses."""

    def __init__(self, ways: dict[str, tuple[Callable[[], str], float]]) -> None:
        self.answers: dict[str, Counter[str]] = {way: Counter() for way in ways}
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(way, *how)) for way, how in ways.items()]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        while not STOP.exists():
            self._tell()
            time.sleep(1)
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._tell()

    def _ask(self, way: str, once: Callable[[], str], pause: float) -> None:
        while not self._stopped.is_set():
            try:
                self.answers[way][once()] += 1
            except Exception as error:  # noqa: BLE001, a failure of any kind is what is looked for
                said = error.details() if isinstance(error, grpc.Call) else error
                self.failures.append(f"{time.strftime('%T')} {way}: {type(error).__name__} {said}")
            self._stopped.wait(pause)

    def _tell(self) -> None:
        answers = {way: dict(versions) for way, versions in self.answers.items()}
        sys.stdout.write(json.dumps({"answers": answers, "failures": self.failures[:20]}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    RequestLoad(
        {
            "rest, kept connection": (kept(connection(), over_rest), PAUSE),
            "rest, another kept connection": (kept(connection(), over_rest), PAUSE),
            "rest, kept connection, rarely": (kept(connection(), over_rest), LONG_PAUSE),
            "rest, new connections": (renewed(connection, over_rest), PAUSE),
            "rest, more new connections": (renewed(connection, over_rest), PAUSE),
            "grpc, kept channel": (kept(channel(), over_grpc), PAUSE),
            "grpc, new channels": (renewed(channel, over_grpc), PAUSE),
        }
    ).run()
