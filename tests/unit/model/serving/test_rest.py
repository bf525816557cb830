"""The REST application in this process: what a running server cannot be made to do from outside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from tokenizers import Encoding

from model.artifact import read_manifest
from model.classifier import Classifier, Encoder, Floats, Graph
from model.serving.metrics import Metrics
from model.serving.predictor import Plane, Predictor
from model.serving.rest import make_app
from tests.versions import make_version

BODY = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}


class BrokenGraph(Graph):
    """Has run out of luck."""

    def __init__(self) -> None:
        """Nothing to load."""

    def logits(self, encodings: Sequence[Encoding]) -> Floats:
        raise MemoryError("allocate 7 GiB at 0x7fff: a secret of ours")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def predictor_of(folder: Path, registry: CollectorRegistry, *, broken: bool = False) -> Predictor:
    classifier, manifest = Classifier.load(folder), read_manifest(folder)
    if broken:
        encoder: Encoder = classifier.encoder
        classifier = Classifier(encoder, BrokenGraph(), classifier.decision)
    return Predictor("papers", classifier, manifest, threads=1, metrics=Metrics(manifest, registry))


def ask(predictor: Predictor, registry: CollectorRegistry, method: str, path: str, body: object = None) -> httpx.Response:
    app = make_app(Plane(predictor), Metrics(predictor.manifest, CollectorRegistry()), registry)

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, json=body)

    return asyncio.run(call())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/v2/models/papers/infer", BODY, id="v2"),
        pytest.param("/v1/models/papers:predict", {"instances": ["a"]}, id="v1"),
    ],
)
def test_a_fault_of_ours_is_500_and_says_nothing_of_our_insides(
    tmp_path: Path, registry: CollectorRegistry, path: str, body: object
) -> None:
    predictor = predictor_of(make_version(tmp_path), registry, broken=True)

    answer = ask(predictor, registry, "POST", path, body)

    assert (answer.status_code, answer.json()) == (500, {"error": "The predictor failed: its log says how."})


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/papers/ready", "/v1/models/papers"])
def test_a_predictor_that_is_stopping_is_not_ready(tmp_path: Path, registry: CollectorRegistry, path: str) -> None:
    predictor = predictor_of(make_version(tmp_path), registry)
    predictor.ready = False

    answer = ask(predictor, registry, "GET", path)

    assert answer.status_code == 503
    assert list(answer.json()) == ["error"]


def test_a_client_is_refused_without_a_trace_in_the_log(
    tmp_path: Path, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = predictor_of(make_version(tmp_path), registry)

    with caplog.at_level(logging.DEBUG):
        answer = ask(predictor, registry, "POST", "/v2/models/papers/infer", {})

    assert answer.status_code == 400
    assert not [each for each in caplog.records if each.exc_info]


def test_metrics_are_those_of_the_registry_given(tmp_path: Path, registry: CollectorRegistry) -> None:
    predictor = predictor_of(make_version(tmp_path), registry)

    assert 'labelwright_predictor_predicted_labels_total{label="cs.LG"} 0.0' in ask(predictor, registry, "GET", "/metrics").text
