"""The REST application in this process: what a running server cannot be made to do from outside."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message

from model.artifact import read_manifest
from model.classifier import Classifier, Floats, OnnxModel, TokenizedText
from model.serving.batching import Batcher
from model.serving.http import InferenceMiddleware, make_app
from model.serving.metrics import Metrics
from model.serving.parsing_turns import ParsingTurns
from model.serving.predictor import DataPlane, Predictor
from model.serving.requests import Limits
from tests.support.versions import make_version

# The SDK's v1 route answers with a class that FastAPI has grown out of.
pytestmark = pytest.mark.filterwarnings("ignore:ORJSONResponse is deprecated")

INFER = "/v2/models/papers/infer"
CLIENT = ("10.0.0.1", 12345)
PATIENCE = 30.0


def body_of(*texts: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}]}


BODY = body_of("a")


class BrokenGraph(OnnxModel):
    """Has run out of luck."""

    def __init__(self) -> None:
        self.label_count = 3

    def logits(self, tokens: Sequence[TokenizedText], **_: object) -> Floats:
        raise MemoryError("allocate 7 GiB at 0x7fff: a secret of ours")


class HeldGraph(BrokenGraph):
    """Computes only once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()
        self.let = threading.Event()

    def logits(self, tokens: Sequence[TokenizedText], **_: object) -> Floats:
        self.began.set()
        assert self.let.wait(PATIENCE)
        return np.zeros((len(tokens), self.label_count), np.float32)


class App:
    """The application, and what a test looks at behind it."""

    def __init__(self, folder: Path, graph: OnnxModel | None = None) -> None:
        classifier, manifest = Classifier.load(make_version(folder)), read_manifest(folder)
        classifier = Classifier(classifier.tokenizer, graph or classifier.onnx_model, classifier.rule)
        registry = CollectorRegistry()
        metrics = Metrics(manifest, registry)
        self.batcher = Batcher(classifier, metrics, threads=1, capacity=4)
        limits = Limits(texts=3, characters=10, request_characters=25)
        self.predictor = Predictor("papers", manifest, classifier.rule, self.batcher, limits)
        self.door: InferenceMiddleware = make_app(
            DataPlane(self.predictor), metrics, registry, max_body_bytes=1024, turns=ParsingTurns()
        )

    async def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        transport = httpx.ASGITransport(self.door, raise_app_exceptions=False, client=CLIENT)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, json=body)

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        return asyncio.run(self.call(method, path, body))

    def infer(self, *texts: str) -> httpx.Response:
        return self.ask("POST", INFER, body_of(*texts))

    def count(self, protocol: str, code: str) -> int:
        """Requests so answered, as the metrics have it."""
        name = f'labelwright_predictor_requests_total{{code="{code}",protocol="{protocol}"}} '
        found = [line for line in self.ask("GET", "/metrics").text.splitlines() if line.startswith(name)]
        return int(float(found[0].removeprefix(name))) if found else 0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path)
    yield app
    app.batcher.close()


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path, BrokenGraph())
    yield app
    app.batcher.close()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[App, HeldGraph]]:
    app = App(tmp_path, graph := HeldGraph())
    yield app, graph
    graph.let.set()
    app.batcher.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(INFER, BODY, id="v2"),
        pytest.param("/v1/models/papers:predict", {"instances": ["a"]}, id="v1"),
    ],
)
def test_a_fault_of_ours_is_500_and_says_nothing_of_our_insides(broken: App, path: str, body: object) -> None:
    answer = broken.ask("POST", path, body)

    assert (answer.status_code, answer.json()) == (500, {"error": "Internal error: see the predictor's log."})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/v2/health/ready", id="server"),
        pytest.param("GET", "/v2/models/papers/ready", id="model"),
        pytest.param("GET", "/v1/models/papers", id="v1"),
        pytest.param("POST", INFER, id="infer"),
        pytest.param("POST", "/v1/models/papers:predict", id="predict"),
    ],
)
def test_a_predictor_that_is_stopping_is_not_ready(app: App, method: str, path: str) -> None:
    app.predictor.ready = False

    answer = app.ask(method, path, BODY)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert list(answer.json()) == ["error"]


def test_whoever_was_connected_is_served_to_the_end_and_sent_away(app: App) -> None:
    app.predictor.ready = False
    app.door.drain([CLIENT])

    answers = [app.infer("a"), app.ask("POST", "/v1/models/papers:predict", {"instances": ["a"]})]

    assert [(each.status_code, each.headers["connection"]) for each in answers] == [(200, "close")] * 2
    assert app.ask("GET", "/v2/health/ready").status_code == 503


def test_whoever_comes_while_it_drains_is_refused(app: App) -> None:
    app.predictor.ready = False
    app.door.drain([("10.0.0.7", 1)])

    assert app.infer("a").status_code == 503


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        pytest.param(["a"] * 4, "the request has 4 texts: expected at most 3", id="too-many"),
        pytest.param(["a", "x" * 11], "text 1 has 11 characters: expected at most 10", id="too-long"),
    ],
)
def test_more_than_is_let_in_is_named(app: App, texts: list[str], sentence: str) -> None:
    by_v2, by_v1 = app.infer(*texts), app.ask("POST", "/v1/models/papers:predict", {"instances": texts})

    assert [(each.status_code, each.json()) for each in (by_v2, by_v1)] == [(400, {"error": sentence})] * 2


def test_texts_that_have_too_many_characters_together_are_413(app: App) -> None:
    texts = ["x" * 10, "x" * 10, "x" * 6]
    by_v2, by_v1 = app.infer(*texts), app.ask("POST", "/v1/models/papers:predict", {"instances": texts})

    sentence = "The request's texts have 26 characters: expected at most 25 in all."
    assert [(each.status_code, each.json()) for each in (by_v2, by_v1)] == [(413, {"error": sentence})] * 2
    assert app.infer("x" * 10, "x" * 10, "x" * 5).status_code == 200


@pytest.mark.parametrize("path", [pytest.param(INFER, id="v2"), pytest.param("/v1/models/papers:predict", id="v1")])
def test_a_body_too_large_is_413(app: App, path: str) -> None:
    answer = app.ask("POST", path, "x" * 1024)

    assert answer.status_code == 413
    assert answer.json() == {"error": "The body is too large: expected at most 1024 bytes."}
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", [INFER, "/v1/models/papers:predict"])
def test_a_body_that_is_compressed_is_refused(app: App, path: str) -> None:
    async def test() -> httpx.Response:
        transport = httpx.ASGITransport(app.door, client=CLIENT)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post(path, content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})

    refused = asyncio.run(test())

    assert refused.status_code == 400
    assert refused.json() == {"error": 'header Content-Encoding is "gzip": expected no compression'}


def test_the_seconds_of_a_request_end_with_its_response_not_with_the_client_that_lingers(app: App) -> None:
    async def test() -> None:
        sent: list[Message] = []

        async def never_done() -> Message:
            await asyncio.sleep(0.5)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"content-length", b"99999999")]
        scope = {"type": "http", "method": "POST", "path": INFER, "headers": headers, "client": CLIENT}
        await app.door(scope, never_done, send)
        assert sent[0]["status"] == 413

    asyncio.run(test())

    name = 'labelwright_predictor_request_seconds_sum{protocol="v2"} '
    metrics = app.ask("GET", "/metrics").text
    assert float(metrics.partition("\n" + name)[2].partition("\n")[0]) < 0.25


def test_a_full_queue_is_429_and_says_when_to_come_back(held: tuple[App, HeldGraph]) -> None:
    app, graph = held

    async def test() -> tuple[httpx.Response, list[httpx.Response]]:
        computed = asyncio.create_task(app.call("POST", INFER, body_of("a")))
        assert await asyncio.to_thread(graph.began.wait, PATIENCE)
        both = [asyncio.create_task(app.call("POST", INFER, body_of("a", "b", "c"))) for _ in range(2)]
        refused, waiting = await asyncio.wait(both, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        graph.let.set()
        return refused.pop().result(), [await computed, await waiting.pop()]

    refused, answered = asyncio.run(test())

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json() == {"error": "The queue is full: 3 texts are waiting, of at most 4. Retry in 1 s."}
    assert [each.status_code for each in answered] == [200, 200]


@pytest.mark.parametrize(
    ("path", "protocol", "body"),
    [
        pytest.param(INFER, "v2", BODY, id="v2"),
        pytest.param("/v1/models/papers:predict", "v1", {"instances": ["a"]}, id="v1"),
    ],
)
def test_a_client_that_hangs_up_is_sent_nothing_and_counted(
    held: tuple[App, HeldGraph], path: str, protocol: str, body: object, caplog: pytest.LogCaptureFixture
) -> None:
    app, graph = held
    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "client": CLIENT}
    messages: list[Message] = [{"type": "http.request", "body": json.dumps(body).encode()}]
    sent: list[Message] = []

    async def receive() -> Message:
        if messages:
            return messages.pop()
        assert await asyncio.to_thread(graph.began.wait, PATIENCE)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app.door(scope, receive, send))

    assert sent == []
    assert app.count(protocol, "499") == 1
    assert not caplog.records


@pytest.mark.parametrize("path", [pytest.param(INFER, id="v2"), pytest.param("/v1/models/papers:predict", id="v1")])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_inference_by_another_method_is_405_and_says_by_which(app: App, method: str, path: str) -> None:
    answer = app.ask(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == {"error": "Inference requires POST."}


def test_work_that_is_cancelled_while_draining_is_503(held: tuple[App, HeldGraph], caplog: pytest.LogCaptureFixture) -> None:
    app, graph = held

    async def test() -> httpx.Response:
        asking = asyncio.create_task(app.call("POST", INFER, BODY))
        assert await asyncio.to_thread(graph.began.wait, PATIENCE)
        app.door.drain([CLIENT])
        asking.cancel()
        return await asking

    answer = asyncio.run(test())

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"error": "Server is not ready. It is stopping and had no time left for this request."}
    assert not caplog.records


def test_a_v1_body_that_is_no_json_is_refused_in_our_words(app: App) -> None:
    async def test() -> httpx.Response:
        transport = httpx.ASGITransport(app.door, client=CLIENT)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/v1/models/papers:predict", content=b"nope")

    assert asyncio.run(test()).json() == {"error": "the body is not JSON: invalid character (byte 4)"}


def test_each_request_is_counted_once_with_its_code(app: App) -> None:
    app.infer("a")
    app.infer(*"abcd")
    app.ask("POST", "/v1/models/papers:predict", {"instances": ["a"]})
    app.ask("POST", "/v1/models/papers:predict", {})
    app.ask("POST", "/v2/models/other/infer", BODY)

    assert [app.count("v2", code) for code in ("200", "400", "404")] == [1, 1, 1]
    assert [app.count("v1", code) for code in ("200", "400")] == [1, 1]


def test_a_client_is_refused_without_a_trace_in_the_log(app: App, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = app.ask("POST", INFER, {})

    assert answer.status_code == 400
    assert not [each for each in caplog.records if each.exc_info]


def test_metrics_are_those_of_the_registry_given(app: App) -> None:
    assert 'labelwright_predictor_predicted_labels_total{label="cs.LG"} 0.0' in app.ask("GET", "/metrics").text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(INFER, BODY, id="v2"),
        pytest.param("/v1/models/papers:predict", {"instances": ["a"]}, id="v1"),
    ],
)
def test_a_request_that_waits_longer_than_its_timeout_is_504_and_not_computed(
    held: tuple[App, HeldGraph], path: str, body: dict[str, Any]
) -> None:
    app, graph = held

    async def test() -> httpx.Response:
        before = asyncio.create_task(app.call("POST", INFER, BODY))
        await asyncio.to_thread(graph.began.wait, PATIENCE)
        late = await app.call("POST", path, {**body, "parameters": {"timeout": 1000}})
        graph.let.set()
        await before
        return late

    late = asyncio.run(test())

    assert late.status_code == 504
    assert late.json() == {"error": "The request exceeded its timeout of 1000 microseconds."}
    assert app.count("v2", "504") + app.count("v1", "504") == 1
    assert "labelwright_predictor_texts_total 1.0" in app.ask("GET", "/metrics").text
    assert app.predictor.unanswered == 0


def test_a_request_that_is_answered_within_its_timeout_is_answered(app: App) -> None:
    assert app.ask("POST", INFER, {**BODY, "parameters": {"timeout": 60_000_000}}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/health/ready", "/v2/models/papers", "/v1/models/papers", "/metrics"])
def test_what_can_be_got_can_be_asked_after_by_head(app: App, path: str) -> None:
    assert app.ask("HEAD", path).status_code == 200
