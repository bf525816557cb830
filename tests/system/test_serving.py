"""The predictor as clients meet it: a process, KServe's own clients, and raw HTTP for what those cannot send."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import RequestedOutput
from prometheus_client.parser import text_string_to_metric_families

from model.artifact import GRAPH, MANIFEST, TOKENIZER, publish, read_manifest, to_json
from model.manifest import Task
from model.storage import open_store
from tests.support.servers import MAX_START_SECONDS, RunningServer, serving
from tests.support.versions import LABELS, make_manifest, make_version, write_tokenizer

INFER = "/v2/models/papers/infer"
MANY_TEXTS = ["--max-texts=10000", "--queue-texts=20000", "--max-request-characters=8000000"]  # lets the long request in
LONG_REQUEST = ["word " * 200] * 7_000  # takes seconds, at 7 MB
SURE, UNSURE = pytest.approx(0.880797, abs=1e-5), pytest.approx(0.119203, abs=1e-5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("served")
    with serving(make_version(folder / "v1"), folder / "log", options=MANY_TEXTS) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.rest, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server: RunningServer) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def ask(*texts: str, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}], **more}


def infer_request(*texts: str, binary: bool = False, **more: Any) -> InferRequest:
    tensor = InferInput("text", [len(texts)], "BYTES", data=list(texts))
    if binary:
        tensor.set_data_from_numpy(np.array([text.encode() for text in texts], np.object_))
    return InferRequest("papers", [tensor], request_id="mine", **more)


def over_rest(server: RunningServer, request: InferRequest) -> InferResponse:
    async def call() -> InferResponse:
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
        try:
            return await client.infer(server.rest, request, model_name="papers")
        finally:
            await client.close()

    return asyncio.run(call())


def over_grpc(server: RunningServer, request: InferRequest) -> InferResponse:
    async def call() -> InferResponse:
        async with InferenceGRPCClient(server.grpc, retries=0) as client:
            return await client.infer(request)

    return asyncio.run(call())


def output(response: InferResponse, name: str) -> list[Any]:
    """The tensor as nested lists, texts as strings."""
    values = response.get_output_by_name(name).as_numpy()
    return [[each.decode() if isinstance(each, bytes) else each for each in row] for row in values.tolist()]


# --- v2 with KServe's own clients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [pytest.param(False, id="json-or-typed"), pytest.param(True, id="binary-or-raw")])
@pytest.mark.parametrize("call", [pytest.param(over_rest, id="rest"), pytest.param(over_grpc, id="grpc")])
def test_kserves_clients_get_labels_and_scores(server: RunningServer, call: Any, binary: bool) -> None:
    response = call(server, infer_request("cs.LG and math.CO", "stat.ML", binary=binary))

    assert output(response, "labels") == [["cs.LG", "math.CO"], ["stat.ML", ""]]
    assert output(response, "scores") == [[SURE, SURE], [SURE, 0.0]]
    assert [each.name for each in response.outputs] == ["labels", "scores"]
    assert response.id == "mine"


@pytest.mark.parametrize("call", [pytest.param(over_rest, id="rest"), pytest.param(over_grpc, id="grpc")])
def test_probabilities_come_when_asked_for_by_name(server: RunningServer, call: Any) -> None:
    response = call(server, infer_request("cs.LG", request_outputs=[RequestedOutput("probabilities")]))

    assert [each.name for each in response.outputs] == ["probabilities"]
    assert output(response, "probabilities") == [[SURE, UNSURE, UNSURE]]


@pytest.mark.parametrize("call", [pytest.param(over_rest, id="rest"), pytest.param(over_grpc, id="grpc")])
def test_top_k_is_obeyed(server: RunningServer, call: Any) -> None:
    response = call(server, infer_request("stat.ML", parameters={"top_k": 2}))

    assert output(response, "labels") == [["stat.ML", "cs.LG"]]


def test_a_threshold_is_a_number_over_rest_and_a_string_over_grpc(server: RunningServer) -> None:
    by_rest = over_rest(server, infer_request("stat.ML", "nothing", parameters={"threshold": 0.5}))
    by_grpc = over_grpc(server, infer_request("stat.ML", "nothing", parameters={"threshold": "0.5"}))

    assert output(by_rest, "labels") == output(by_grpc, "labels") == [["stat.ML"], [""]]


@pytest.mark.parametrize("binary", [pytest.param(False, id="typed"), pytest.param(True, id="raw")])
def test_no_label_at_all_is_an_answer_over_grpc(server: RunningServer, binary: bool) -> None:
    names = [RequestedOutput(name) for name in ("labels", "probabilities")]
    request = infer_request("nothing", binary=binary, parameters={"threshold": "0.5"}, request_outputs=names)
    response = over_grpc(server, request)

    assert response.get_output_by_name("labels").shape == [1, 0]
    assert output(response, "probabilities") == [[UNSURE, UNSURE, UNSURE]]


# --- v2 over plain HTTP ---------------------------------------------------------------------------------------------


def test_the_version_comes_with_every_answer(http: httpx.Client, stub: Any) -> None:
    assert http.post(INFER, json=ask("a")).json()["model_version"] == "v1"
    assert stub.ModelInfer(_message(b"a")).model_version == "v1"


def test_an_answer_has_an_id_even_if_none_was_given(http: httpx.Client) -> None:
    first, second = (http.post(INFER, json=ask("a")).json()["id"] for _ in range(2))

    assert first
    assert first != second


def test_the_served_version_answers_under_its_name(http: httpx.Client) -> None:
    answer = http.post("/v2/models/papers/versions/v1/infer", json=ask("cs.LG"))

    assert answer.json()["outputs"][0]["data"] == ["cs.LG"]
    assert http.get("/v2/models/papers/versions/v1/ready").json() == {"name": "papers", "ready": True}
    assert http.get("/v2/models/papers/versions/v1").json() == http.get("/v2/models/papers").json()


def test_binary_in_json_out_and_the_other_way_round(http: httpx.Client) -> None:
    raw = b"\x05\x00\x00\x00cs.LG"
    head = json.dumps(
        {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}]}
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    read = http.post(INFER, content=head + raw, headers=headers).json()
    outputs = [{"name": "labels", "parameters": {"binary_data": True}}, {"name": "scores"}]
    written = http.post(INFER, json=ask("cs.LG", outputs=outputs))

    assert read["outputs"][0]["data"] == ["cs.LG"]
    length = int(written.headers["Inference-Header-Content-Length"])
    assert written.content[length:] == raw
    assert json.loads(written.content[:length])["outputs"][1]["data"] == [SURE]


def test_binary_output_of_the_whole_request_holds_for_outputs_that_say_nothing(http: httpx.Client) -> None:
    body = ask("cs.LG", outputs=[{"name": "scores"}], parameters={"binary_data_output": True})
    answer = http.post(INFER, json=body)
    length = int(answer.headers["Inference-Header-Content-Length"])

    assert np.frombuffer(answer.content[length:], np.float32).tolist() == [SURE]


ODD_TEXTS = [
    pytest.param("", id="empty"),
    pytest.param(" \t\n", id="blank"),
    pytest.param("a\0b\0", id="nul-bytes"),
    pytest.param("🙂👩‍👩‍👧‍👦", id="emoji"),
    pytest.param("\u05e9\u05dc\u05d5\u05dd \u202e\u0639\u0627\u0644\u0645", id="right-to-left"),
    pytest.param("数学" * 500, id="cjk"),
    pytest.param("word " * 20_000, id="100000-characters"),
    pytest.param("x" * 100_000, id="one-word-of-100000-characters"),
    pytest.param("e\u0301\ufeff\uffff", id="combining-and-noncharacters"),
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_every_text_is_answered_alike_by_every_protocol(http: httpx.Client, stub: Any, text: str) -> None:
    by_v2 = http.post(INFER, json=ask(text, "cs.LG")).json()["outputs"][0]["data"]
    by_v1 = http.post("/v1/models/papers:predict", json={"instances": [text, "cs.LG"]}).json()["predictions"]
    by_grpc = stub.ModelInfer(_message(text.encode(), b"cs.LG")).outputs[0].contents.bytes_contents

    assert by_v2 == ["cs.LG", "cs.LG"]
    assert [each["labels"] for each in by_v1] == [["cs.LG"], ["cs.LG"]]
    assert list(by_grpc) == [b"cs.LG", b"cs.LG"]


def test_no_texts_get_no_labels(http: httpx.Client) -> None:
    assert [each["shape"] for each in http.post(INFER, json=ask()).json()["outputs"]] == [[0, 0], [0, 0]]
    assert http.post("/v1/models/papers:predict", json={"instances": []}).json() == {"predictions": []}


# --- v1 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "media_type",
    [pytest.param("application/json", id="json"), pytest.param("application/json; charset=utf-8", id="with-charset")],
)
def test_v1_gives_labels_and_scores_without_padding(http: httpx.Client, media_type: str) -> None:
    body = json.dumps({"instances": ["cs.LG math.CO", "stat.ML"]})
    answer = http.post("/v1/models/papers:predict", content=body, headers={"Content-Type": media_type})

    assert answer.json() == {
        "predictions": [{"labels": ["cs.LG", "math.CO"], "scores": [SURE, SURE]}, {"labels": ["stat.ML"], "scores": [SURE]}]
    }


def test_v1_takes_parameters_too(http: httpx.Client) -> None:
    answer = http.post("/v1/models/papers:predict", json={"instances": ["stat.ML"], "parameters": {"top_k": 2}})

    assert answer.json()["predictions"][0]["labels"] == ["stat.ML", "cs.LG"]


# --- metadata and health --------------------------------------------------------------------------------------------


def test_metadata_names_the_version_the_tensors_and_the_labels_in_order(http: httpx.Client) -> None:
    assert http.get("/v2/models/papers").json() == {
        "name": "papers",
        "versions": ["v1"],
        "platform": "onnxruntime",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "labels", "datatype": "BYTES", "shape": [-1, -1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, -1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        ],
        "parameters": {"labels": list(LABELS), "thresholds": [0.5] * len(LABELS), "task": "multi-label", "max_length": 16},
    }


def test_grpc_metadata_names_the_version_and_probabilities_name_the_labels(stub: Any) -> None:
    metadata = stub.ModelMetadata(messages.ModelMetadataRequest(name="papers", version="v1"))
    request = _message(b"a")
    request.outputs.add(name="probabilities")
    probabilities = stub.ModelInfer(request).outputs[0]

    assert list(metadata.versions) == ["v1"]
    assert metadata.platform == "onnxruntime"
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.outputs] == [
        ("labels", "BYTES", [-1, -1]),
        ("scores", "FP32", [-1, -1]),
        ("probabilities", "FP32", [-1, 3]),
    ]
    assert json.loads(probabilities.parameters["labels"].string_param) == list(LABELS)


def test_kserves_clients_find_the_server_and_the_model_ready(server: RunningServer) -> None:
    async def over_both() -> list[bool]:
        rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
        async with InferenceGRPCClient(server.grpc, retries=0) as client:
            found = [
                await rest.is_server_live(server.rest),
                await rest.is_server_ready(server.rest),
                await rest.is_model_ready(server.rest, "papers"),
                await client.is_server_live(),
                await client.is_server_ready(),
                await client.is_model_ready("papers"),
            ]
        await rest.close()
        return found

    assert asyncio.run(over_both()) == [True] * 6


def test_server_metadata_offers_binary_tensors_and_no_model_repository(http: httpx.Client) -> None:
    assert http.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert http.get("/v2/models").json() == {"models": ["papers"]}


def test_health_answers_while_a_long_request_is_computed(http: httpx.Client) -> None:
    asked = threading.Thread(target=http.post, args=(INFER,), kwargs={"json": ask(*LONG_REQUEST)}, daemon=True)
    asked.start()
    slowest = 0.0
    deadline = time.monotonic() + MAX_START_SECONDS
    while asked.is_alive():
        assert time.monotonic() < deadline
        before = time.monotonic()
        assert http.get("/v2/health/ready").status_code == 200
        slowest = max(slowest, time.monotonic() - before)

    assert slowest < 2.0


# --- what the client got wrong --------------------------------------------------------------------------------------


def tensor(**changed: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"], **changed}]}


REFUSED = [
    pytest.param("{", "the body is not JSON: Input data was truncated", id="cut-json"),
    pytest.param('{"inputs": x}', "the body is not JSON: invalid character (byte 11)", id="malformed-json"),
    pytest.param('{"inputs": 1e999}', "the body is not JSON: Number out of range", id="number-out-of-range"),
    pytest.param([], "the body is []: expected an object", id="not-an-object"),
    pytest.param({}, "inputs is missing: expected a list of one tensor", id="no-inputs"),
    pytest.param({"inputs": []}, 'inputs holds 0 tensors: expected one, named "text"', id="empty-inputs"),
    pytest.param(tensor(name="texts"), 'input "texts" is not known: expected one input, named "text"', id="unknown-input"),
    pytest.param({"inputs": tensor()["inputs"] * 2}, 'inputs holds 2 tensors: expected one, named "text"', id="text-twice"),
    pytest.param(tensor(datatype="INT32"), 'input "text" has datatype "INT32": expected BYTES', id="wrong-datatype"),
    pytest.param(tensor(shape=[5]), 'input "text" has 1 text: expected 5, as its shape says', id="shape-too-long"),
    pytest.param(
        tensor(shape=[1, 2]),
        'input "text" has shape [1,2]: expected [n] or [n,1], n being the number of texts',
        id="two-columns",
    ),
    pytest.param(
        tensor(shape=[-1]),
        'input "text" has shape [-1]: expected [n] or [n,1], n being the number of texts',
        id="negative-shape",
    ),
    pytest.param(tensor(data=[7]), 'input "text" has 7 at position 0: expected a string', id="a-number-as-text"),
    pytest.param(tensor(data=None), "inputs[0].data is missing: expected a list of strings", id="no-data"),
    pytest.param(tensor(shape=["1"]), 'inputs[0].shape[0] is "1": expected an integer', id="shape-of-strings"),
    pytest.param(
        ask("a", outputs=[{"name": "label"}]),
        'output "label" is not known: expected labels, scores or probabilities',
        id="unknown-output",
    ),
    pytest.param(ask("a", parameters={"top_k": 0}), "parameter top_k is 0: expected a positive integer", id="top-k-zero"),
    pytest.param(
        ask("a", parameters={"top_k": True}), "parameter top_k is true: expected a positive integer", id="top-k-boolean"
    ),
    pytest.param(ask("a", parameters={"top_k": 1.5}), "parameter top_k is 1.5: expected a positive integer", id="top-k-fraction"),
    pytest.param(
        ask("a", parameters={"threshold": 1.5}),
        "parameter threshold is 1.5: expected a number from 0 to 1",
        id="threshold-above-1",
    ),
    pytest.param(
        ask("a", parameters={"threshold": "high"}),
        'parameter threshold is "high": expected a number from 0 to 1',
        id="threshold-text",
    ),
    pytest.param(
        ask("a", parameters={"topk": 2}), 'parameter "topk" is not known: expected top_k or threshold', id="unknown-parameter"
    ),
    pytest.param(
        tensor(parameters={"top_k": 3}),
        'inputs[0].parameters has "top_k": expected binary_data_size or content_type; '
        "top_k and threshold go in the request's own parameters",
        id="parameter-of-the-input",
    ),
    pytest.param(
        ask("a", outputs=[{"name": "labels", "parameters": {"classification": 3}}]),
        'outputs[0].parameters has "classification": expected binary_data; '
        "top_k and threshold go in the request's own parameters",
        id="parameter-of-an-output",
    ),
    pytest.param(
        ask("a", top_k=2),
        "top_k is not a field of this request: expected another name; top_k and threshold go in parameters",
        id="parameter-in-the-wrong-place",
    ),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED)
def test_a_wrong_v2_request_gets_400_and_one_sentence(http: httpx.Client, body: Any, sentence: str) -> None:
    answer = http.post(INFER, content=body if isinstance(body, str) else json.dumps(body))

    assert (answer.status_code, answer.json()) == (400, {"error": sentence})


@pytest.mark.parametrize(
    ("changed", "length", "sentence"),
    [
        pytest.param(
            {"binary_data_size": 9},
            "abc",
            'header Inference-Header-Content-Length is "abc": expected a number of bytes up to the body\'s',
            id="length-not-a-number",
        ),
        pytest.param(
            {"binary_data_size": 9},
            "9999",
            'header Inference-Header-Content-Length is "9999": expected',
            id="length-beyond-the-body",
        ),
        pytest.param(
            {"binary_data_size": 3}, None, "inputs[0].parameters.binary_data_size is 3: expected the 9 bytes", id="size-wrong"
        ),
        pytest.param({}, None, "inputs[0].data is missing", id="no-size"),
        pytest.param({"binary_data_size": 9}, None, 'input "text" has binary contents of another length', id="contents-cut"),
    ],
)
def test_wrong_binary_data_gets_400(http: httpx.Client, changed: dict[str, Any], length: str | None, sentence: str) -> None:
    head = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": changed}]}).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(head))}
    answer = http.post(INFER, content=head + b"\x63\x00\x00\x00cs.LG", headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(sentence)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param({"instances": ["a", 3]}, "instances[1] is 3: expected a string", id="a-number"),
        pytest.param({"instances": "a"}, 'instances is "a": expected a list', id="no-list"),
        pytest.param({}, "instances is missing: expected a list of strings", id="missing"),
        pytest.param(
            {"instances": ["a"], "parameters": {"top_k": -1}}, "parameter top_k is -1: expected a positive integer", id="top-k"
        ),
    ],
)
def test_a_wrong_v1_request_gets_400_and_one_sentence(http: httpx.Client, body: Any, sentence: str) -> None:
    answer = http.post("/v1/models/papers:predict", json=body)

    assert (answer.status_code, answer.json()) == (400, {"error": sentence})


def test_malformed_json_gets_400_from_v1_too(http: httpx.Client) -> None:
    answer = http.post("/v1/models/papers:predict", content="{", headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert "error" in answer.json()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("POST", "/v2/models/other/infer", id="infer-unknown-model"),
        pytest.param("POST", "/v2/models/papers/versions/v9/infer", id="infer-unknown-version"),
        pytest.param("GET", "/v2/models/other", id="metadata-unknown-model"),
        pytest.param("GET", "/v2/models/papers/versions/v9", id="metadata-unknown-version"),
        pytest.param("GET", "/v2/models/other/ready", id="ready-unknown-model"),
        pytest.param("GET", "/v2/models/papers/versions/v9/ready", id="ready-unknown-version"),
        pytest.param("POST", "/v1/models/other:predict", id="v1-unknown-model"),
        pytest.param("POST", "/v2/repository/models/papers/load", id="load-is-off"),
        pytest.param("POST", "/v2/repository/models/papers/unload", id="unload-is-off"),
        pytest.param("GET", "/nowhere", id="unknown-path"),
    ],
)
def test_what_is_not_there_gets_404(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path, json=ask("a") if method == "POST" else None)

    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


def test_the_wrong_method_gets_405(http: httpx.Client) -> None:
    assert http.get(INFER).status_code == 405


def _message(*texts: bytes, **changed: Any) -> Any:
    fields: dict[str, Any] = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", **changed}
    request = messages.ModelInferRequest(model_name="papers")
    request.inputs.add(**fields).contents.bytes_contents.extend(texts)
    return request


def _raw(content: bytes, *, shape: Sequence[int] = (1,)) -> Any:
    request = messages.ModelInferRequest(model_name="papers", raw_input_contents=[content])
    request.inputs.add(name="text", shape=shape, datatype="BYTES")
    return request


def _with_contents(**contents: Any) -> Any:
    request = messages.ModelInferRequest(model_name="papers")
    request.inputs.add(name="text", shape=[1], datatype="BYTES", contents=messages.InferTensorContents(**contents))
    return request


def _with_parameter(name: str, **value: Any) -> Any:
    request = _message(b"a")
    request.parameters[name].CopyFrom(messages.InferParameter(**value))
    return request


@pytest.mark.parametrize(
    ("request_", "code", "sentence"),
    [
        pytest.param(
            _message(b"a", datatype="FP16"), "INVALID_ARGUMENT", 'input "text" has datatype "FP16": expected BYTES', id="datatype"
        ),
        pytest.param(_message(b"a", name="texts"), "INVALID_ARGUMENT", 'input "texts" is not known', id="unknown-input"),
        pytest.param(_message(b"a", shape=[3]), "INVALID_ARGUMENT", 'input "text" has 1 text: expected 3', id="shape"),
        pytest.param(
            _message(b"\xff"),
            "INVALID_ARGUMENT",
            'input "text" has invalid bytes at position 0: expected UTF-8',
            id="not-utf-8",
        ),
        pytest.param(
            _with_contents(fp32_contents=[1.0]),
            "INVALID_ARGUMENT",
            'input "text" has fp32_contents: expected bytes_contents and no other contents',
            id="fractions",
        ),
        pytest.param(
            _with_contents(bytes_contents=[b"a"], int_contents=[1]),
            "INVALID_ARGUMENT",
            'input "text" has int_contents: expected bytes_contents and no other contents',
            id="texts-and-integers",
        ),
        pytest.param(
            _with_contents(),
            "INVALID_ARGUMENT",
            'input "text" has no contents: expected bytes_contents or raw_input_contents',
            id="no-contents",
        ),
        pytest.param(
            _raw(b"\0" * 100_000, shape=[25_000]),
            "INVALID_ARGUMENT",
            "the request has 25000 texts: expected at most 10000",
            id="too-many-raw",
        ),
        pytest.param(
            _message(*[b""] * 50_000),
            "INVALID_ARGUMENT",
            "the request has over 10256 strings or fields: expected at most 10000 texts",
            id="too-many",
        ),
        pytest.param(
            _with_parameter("threshold", string_param="0_5"), "INVALID_ARGUMENT", 'parameter threshold is "0_5"', id="underscore"
        ),
        pytest.param(
            _raw(b"\x63\0\0\0a"), "INVALID_ARGUMENT", 'input "text" has binary contents of another length', id="raw-contents-cut"
        ),
        pytest.param(_with_parameter("top_k", int64_param=0), "INVALID_ARGUMENT", "parameter top_k is 0", id="top-k"),
        pytest.param(
            _with_parameter("threshold", string_param="nan"), "INVALID_ARGUMENT", 'parameter threshold is "nan"', id="threshold"
        ),
        pytest.param(
            _with_parameter("k", int64_param=1), "INVALID_ARGUMENT", 'parameter "k" is not known', id="unknown-parameter"
        ),
        pytest.param(
            messages.ModelInferRequest(model_name="other"), "NOT_FOUND", 'Model with name "other" does', id="unknown-model"
        ),
        pytest.param(
            messages.ModelInferRequest(model_name="papers", model_version="v9"),
            "NOT_FOUND",
            'Model papers has no version "v9": version v1 is served.',
            id="unknown-version",
        ),
    ],
)
def test_a_wrong_grpc_request_gets_a_status_and_one_sentence(stub: Any, request_: Any, code: str, sentence: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(request_)

    assert refused.value.code().name == code
    assert refused.value.details().startswith(sentence)


def test_loading_models_is_off_over_grpc(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="papers"))

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


# --- metrics --------------------------------------------------------------------------------------------------------


def series(http: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(http.get("/metrics").text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def test_requests_texts_and_labels_are_counted(http: httpx.Client, stub: Any) -> None:
    before = series(http)
    http.post(INFER, json=ask("cs.LG math.CO", "word " * 100))
    http.post(INFER, json={})
    http.post("/v1/models/papers:predict", json={"instances": ["math.CO"]})
    stub.ModelInfer(_message(b"math.CO"))
    after = series(http)

    def grown(name: str, **labels: str) -> float:
        key = ("labelwright_predictor_" + name, frozenset(labels.items()))
        return after[key] - before.get(key, 0.0)

    assert grown("requests_total", protocol="v2", code="200") == 1
    assert grown("requests_total", protocol="v2", code="400") == 1
    assert grown("requests_total", protocol="v1", code="200") == 1
    assert grown("requests_total", protocol="grpc", code="OK") == 1
    assert grown("request_seconds_count", protocol="v2") == 2
    assert grown("texts_total") == 4
    assert grown("truncated_texts_total") == 1
    assert grown("predicted_labels_total", label="math.CO") == 3


def test_metrics_say_what_is_served(http: httpx.Client) -> None:
    about = {"classifier": "papers", "version": "v1", "architecture": "linear", "precision": "fp32"}

    assert series(http)["labelwright_model_info", frozenset(about.items())] == 1


# --- starting and stopping ------------------------------------------------------------------------------------------


def test_it_is_ready_and_answers_from_its_first_moment(tmp_path: Path) -> None:
    with serving(make_version(tmp_path / "v1"), tmp_path / "log", options=["--name=renamed"]) as running:
        assert httpx.get(running.rest + "/v2/health/ready").json() == {"ready": True}
        assert httpx.post(running.rest + "/v2/models/renamed/infer", json=ask("cs.LG")).status_code == 200
        assert running.terminate() == 0


def test_a_version_in_a_bucket_is_fetched_and_served(tmp_path: Path, s3_bucket: str) -> None:
    folder = make_version(tmp_path / "v1")
    uri = publish(folder, read_manifest(folder), open_store(s3_bucket + "papers/v1/")).uri
    with serving(uri, tmp_path / "log") as running:
        answer = httpx.post(running.rest + INFER, json=ask("cs.LG"))

    assert answer.json()["outputs"][0]["data"] == ["cs.LG"]


def test_a_single_label_version_gives_one_label_and_its_share(tmp_path: Path) -> None:
    with serving(make_version(tmp_path / "v1", task=Task.SINGLE_LABEL), tmp_path / "log") as running:
        answer = httpx.post(
            running.rest + INFER, json=ask("cs.LG math.CO", outputs=[{"name": "labels"}, {"name": "probabilities"}])
        )
        metadata = httpx.get(running.rest + "/v2/models/papers").json()

    labels, probabilities = answer.json()["outputs"]
    assert labels["data"] == ["cs.LG"]
    assert sum(probabilities["data"]) == pytest.approx(1)
    assert metadata["parameters"]["task"] == "single-label"


def test_kserves_spelling_of_the_options_is_understood(tmp_path: Path) -> None:
    make_version(tmp_path / "v1")
    command = ["--model_name=x", f"--model_dir={tmp_path / 'missing'}", "--http_port=0", "--grpc_port=0"]
    finished = start(*command)

    assert finished.returncode == 1
    assert finished.stderr == f"Error: {tmp_path / 'missing'} is not a published version: it has no manifest.json\n"


def wait_until(it_holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MAX_START_SECONDS
    while not it_holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def long_request_over_rest(server: RunningServer) -> bool:
    return httpx.post(server.rest + INFER, json=ask(*LONG_REQUEST), timeout=60).status_code == 200


def long_request_over_grpc(server: RunningServer) -> bool:
    with grpc.insecure_channel(server.grpc) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(_message(*(text.encode() for text in LONG_REQUEST)), timeout=60)
    return bool(answer.model_version == "v1")


@pytest.mark.parametrize(
    "request_", [pytest.param(long_request_over_rest, id="rest"), pytest.param(long_request_over_grpc, id="grpc")]
)
def test_sigterm_lets_the_request_in_flight_finish_and_exits_0(tmp_path: Path, request_: Callable[[RunningServer], bool]) -> None:
    with serving(make_version(tmp_path / "v1"), tmp_path / "log", options=MANY_TEXTS) as running:
        answered: list[bool] = []
        asking = threading.Thread(target=lambda: answered.append(request_(running)), daemon=True)
        asking.start()
        with httpx.Client(base_url=running.rest) as client:
            wait_until(lambda: series(client)["labelwright_predictor_queue_seconds_count", frozenset()] == 1)
        assert not answered, "the request was answered too soon to show anything"
        status = running.terminate()
        asking.join(MAX_START_SECONDS)

    assert (status, answered) == (0, [True])


def start(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "model.serving", *options], capture_output=True, text=True, timeout=90, check=False
    )


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("harm", "named", "said"),
    [
        pytest.param(flip, GRAPH, "it was altered", id="altered-graph"),
        pytest.param(halve, TOKENIZER, "it was altered or cut", id="cut-tokenizer"),
        pytest.param(Path.unlink, GRAPH, "the version is incomplete", id="missing-graph"),
        pytest.param(Path.unlink, MANIFEST, "it has no manifest.json", id="missing-manifest"),
        pytest.param(halve, MANIFEST, "is not JSON", id="cut-manifest"),
    ],
)
def test_a_version_that_is_not_whole_is_refused_with_the_files_name(tmp_path: Path, harm: Any, named: str, said: str) -> None:
    folder = make_version(tmp_path / "v1")
    harm(folder / named)
    finished = start(str(folder), "--port=0", "--grpc-port=0")

    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert named in finished.stderr
    assert said in finished.stderr


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = make_version(tmp_path / "v1")
    write_tokenizer(folder / TOKENIZER, [f"word{at}" for at in range(50)])
    (folder / MANIFEST).write_bytes(to_json(make_manifest(folder)))
    finished = start(str(folder))

    assert finished.returncode == 1
    assert finished.stderr == f"Error: {folder / TOKENIZER} has token ids up to 50, for which {folder / GRAPH} has no embedding\n"


def test_a_port_that_is_taken_is_named(server: RunningServer, tmp_path: Path) -> None:
    taken = server.rest.rsplit(":", 1)[1]
    finished = start(str(make_version(tmp_path / "v1")), "--host=127.0.0.1", f"--port={taken}", "--grpc-port=0")

    assert finished.returncode == 1
    assert finished.stderr.endswith(f"Error: cannot listen on 127.0.0.1 port {taken}: Address already in use\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param([], "Expected one VERSION", id="no-version"),
        pytest.param(["v1", "--port=99999"], "--port is 99999", id="port-out-of-range"),
        pytest.param(["v1", "--threads=0"], "--threads is 0", id="no-threads"),
        pytest.param(["v1", "--host=nowhere"], "--host is 'nowhere'", id="host-not-an-address"),
        pytest.param(["gs://bucket/v1/"], "expected s3://bucket/prefix/, file:///folder/ or a path", id="unknown-scheme"),
    ],
)
def test_wrong_options_are_named(options: list[str], said: str) -> None:
    finished = start(*options)

    assert finished.returncode != 0
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr
