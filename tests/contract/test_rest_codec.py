"""The server writes its v2 bodies itself: byte for byte what the SDK's own route writes for the same predictor."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kserve.protocol.rest.v2_endpoints import register_v2_endpoints
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from model.artifact import read_manifest
from model.classifier import Classifier, Floats, OnnxModel, TextTokenizer, TokenizedText
from model.serving.batching import Batcher
from model.serving.http import make_app
from model.serving.metrics import Metrics
from model.serving.parsing_turns import ParsingTurns
from model.serving.predictor import DataPlane, Predictor
from model.serving.requests import Limits
from tests.support.versions import make_version

LABELS = ('quoted "label"', "größe/数学", "back\\slash\n\x7f")
JSON_LENGTH = "inference-header-content-length"
GENERATED = re.compile(rb'"id":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"')


class Bytes(TextTokenizer):
    """A token for each byte, so that every text has its own."""

    max_length = 10_000

    def __init__(self) -> None:
        self.max_length = 1024  # longer than any text here

    def encode(self, texts: Sequence[str]) -> list[TokenizedText]:
        return [TokenizedText(list(text.encode()), truncated=False) for text in texts]


class Magnitudes(OnnxModel):
    """Gives every text probabilities of its own, from 1 down to what a float32 can hardly hold."""

    def __init__(self) -> None:
        self.label_count = len(LABELS)

    def logits(self, tokens: Sequence[TokenizedText], **_: object) -> Floats:
        rows = [np.random.default_rng(each.ids).uniform(-80, 20, len(LABELS)) for each in tokens]
        return np.asarray(rows, np.float32)


class Answer(NamedTuple):
    """Parts of a response that must be equal."""

    status: int
    json_length: str | None
    body: bytes


class Routes:
    """Ours and the SDK's, to one predictor."""

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        metrics = Metrics(manifest, CollectorRegistry())
        classifier = Classifier(Bytes(), Magnitudes(), Classifier.load(folder).rule)
        self._batcher = Batcher(classifier, metrics, threads=2, capacity=100)
        limits = Limits(texts=100, characters=1000, request_characters=50_000)
        plane = DataPlane(Predictor("papers", manifest, classifier.rule, self._batcher, limits))
        self._theirs = FastAPI()
        register_v2_endpoints(self._theirs, plane, None)
        self._ours = make_app(plane, metrics, CollectorRegistry(), max_body_bytes=2**20, turns=ParsingTurns())
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()
        self._batcher.close()

    def ask(self, content: bytes, headers: dict[str, str]) -> tuple[Answer, Answer]:
        """Our answer and theirs."""

        async def both() -> tuple[Answer, Answer]:
            return await _answer(self._ours, content, headers), await _answer(self._theirs, content, headers)

        return self._runner.run(both())


async def _answer(app: ASGIApp, content: bytes, headers: dict[str, str]) -> Answer:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        answer = await client.post("/v2/models/papers/infer", content=content, headers=headers)
    body = GENERATED.sub(b'"id":"00000000-0000-0000-0000-000000000000"', answer.content)
    return Answer(answer.status_code, answer.headers.get(JSON_LENGTH), body)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    routes = Routes(make_version(tmp_path_factory.mktemp("version"), labels=LABELS))
    yield routes
    routes.close()


texts = st.lists(st.text(max_size=20), max_size=6)
names = st.sampled_from(["labels", "scores", "probabilities"])
choices = st.fixed_dictionaries(
    {}, optional={"top_k": st.integers(1, 5), "threshold": st.sampled_from([0, 1e-30, 1e-7, 1e-5, 0.01, 0.5, 1, 1.0])}
)


def left_out_null_or(some: st.SearchStrategy[Any], field: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.just({}) | st.just({field: None}) | st.builds(lambda value: {field: value}, some)


def bodies(
    *, whole: st.SearchStrategy[dict[str, Any]], of_output: st.SearchStrategy[dict[str, Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """v2 requests without their input; `whole` are the request's parameters, `of_output` each output's."""
    outputs = st.lists(
        st.builds(lambda name, more: {"name": name, **more}, names, left_out_null_or(of_output, "parameters")), max_size=16
    )
    parts = (
        left_out_null_or(st.text(max_size=10), "id"),
        left_out_null_or(whole, "parameters"),
        left_out_null_or(outputs, "outputs"),
    )
    return st.builds(lambda *each: {key: value for part in each for key, value in part.items()}, *parts)


def tensor(count: int, **more: Any) -> dict[str, Any]:
    return {"name": "text", "shape": [count], "datatype": "BYTES", **more}


def as_json(body: dict[str, Any], asked: Sequence[str], *, ensure_ascii: bool = True) -> bytes:
    whole = {**body, "inputs": [tensor(len(asked), data=list(asked))]}
    return json.dumps(whole, ensure_ascii=ensure_ascii).encode()


PLAIN = bodies(whole=choices, of_output=st.just({}))
# `binary_data` said of an output, and `binary_data_output` of the whole request.
BINARY = bodies(
    whole=st.builds(dict.__or__, choices, st.fixed_dictionaries({}, optional={"binary_data_output": st.booleans()})),
    of_output=st.fixed_dictionaries({}, optional={"binary_data": st.booleans()}),
)


@settings(max_examples=400)
@given(PLAIN, texts, st.booleans())
@example({"parameters": {"threshold": 1}}, ["none reaches it", ""], True)
@example({"outputs": [{"name": "probabilities"}] * 2}, ["a"], True)
@example({"id": 'of "mine"\x1f\u2028'}, ["\x00\x1f\x7f\ufeff\uffff🙂"], False)
def test_json_is_answered_as_the_sdk_answers_it(routes: Routes, body: dict[str, Any], asked: list[str], escaped: bool) -> None:
    content = as_json(body, asked, ensure_ascii=escaped)

    ours, theirs = routes.ask(content, {"content-type": "application/json"})

    assert ours == theirs
    assert ours.status == 200


@settings(max_examples=300)
@given(BINARY, texts)
def test_outputs_that_may_be_binary_are_written_as_the_sdk_writes_them(
    routes: Routes, body: dict[str, Any], asked: list[str]
) -> None:
    ours, theirs = routes.ask(as_json(body, asked), {"content-type": "application/json"})

    assert ours == theirs
    assert ours.status == 200


@settings(max_examples=300)
@given(BINARY, texts)
def test_a_binary_input_is_answered_as_the_sdk_answers_it(routes: Routes, body: dict[str, Any], asked: list[str]) -> None:
    encoded = [text.encode() for text in asked]
    tail = b"".join(len(each).to_bytes(4, "little") + each for each in encoded)
    head = json.dumps({**body, "inputs": [tensor(len(asked), parameters={"binary_data_size": len(tail)})]}).encode()

    ours, theirs = routes.ask(head + tail, {"content-type": "application/octet-stream", JSON_LENGTH: str(len(head))})

    assert ours == theirs
    assert ours.status == 200
