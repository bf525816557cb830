"""Thousands of malformed and odd requests: each is answered or refused in one sentence, and none harms the server."""

from __future__ import annotations

import copy
import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.support.raw_http import CLASS_NAME, Answer, answers, check_refusal, exchange, port_of, request
from tests.support.servers import RunningServer, serving
from tests.support.versions import LABELS, make_version

INFER, PREDICT = "/v2/models/papers/infer", "/v1/models/papers:predict"
MAX_LENGTH = 16
PATIENCE = 15.0  # seconds for one answer; all of them take milliseconds
SURE, UNSURE = 0.880797, 0.119203
JSON_SPACE = " \t\r\n"


def examples(count: int) -> Callable[[Any], Any]:
    """Return hypothesis settings for `count` requests, the same in every run."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("fuzzed")
    with serving(make_version(folder / "v1", max_length=MAX_LENGTH), folder / "log", options=["--threads=1"]) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.rest, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(autouse=True)
def unharmed(server: RunningServer, http: httpx.Client, channel: grpc.Channel) -> Iterator[None]:
    """After each test the server is alive, ready and right, and has logged no stack trace."""
    logged = len(server.log.read_text())
    yield
    assert server.process.poll() is None
    assert http.get("/v2/health/ready").status_code == 200
    assert http.post(INFER, json=v2(["cs.LG", "stat.ML"])).json()["outputs"][0]["data"] == ["cs.LG", "stat.ML"]
    assert GRPCInferenceServiceStub(channel).ModelInfer(message([b"math.CO"]), timeout=PATIENCE).model_version == "v1"
    assert "Traceback" not in server.log.read_text()[logged:]


# --- requests ---------------------------------------------------------------------------------------------------------


def v2(texts: list[str], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}], **more}


def packed(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


def message(texts: list[bytes]) -> Any:
    asked = messages.ModelInferRequest(model_name="papers")
    asked.inputs.add(name="text", datatype="BYTES", shape=[len(texts)]).contents.bytes_contents.extend(texts)
    return asked


def answer_of(response: httpx.Response) -> Answer:
    return Answer(response.status_code, dict(response.headers), response.content)


def check(answer: Answer) -> None:
    """Answered in the form of the protocol, or refused in one sentence."""
    if answer.status != 200:
        check_refusal(answer)
        return
    length = int(answer.headers.get("inference-header-content-length", len(answer.body)))
    content = json.loads(answer.body[:length])
    assert content.keys() & {"outputs", "predictions"}, content
    for tensor in content.get("outputs", []):
        assert len(tensor["shape"]) == 2
        if "data" in tensor:
            assert len(tensor["data"]) == np.prod(tensor["shape"])


ODD_NUMBERS = st.sampled_from([0, -1, 1, 2, 1.0, 1.5, 1e308, -0.0, 2**31, 2**63, 2**64, 10**30, float("nan"), float("inf")])
ODD_TEXTS = st.sampled_from(["", "a", "\0", "\ud800", "é" * 300, "labels", "text", "BYTES", "FP32", "papers", "1", "NaN", "true"])
ODD_VALUES = st.recursive(
    st.none() | st.booleans() | ODD_NUMBERS | ODD_TEXTS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXTS | st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FULL_V2 = v2(
    ["cs.LG", "a"],
    id="mine",
    parameters={"top_k": 2, "threshold": 0.25, "binary_data_output": False},
    outputs=[{"name": "labels", "parameters": {"binary_data": True}}, {"name": "probabilities"}],
)
FULL_V2["inputs"][0]["parameters"] = {"content_type": "str"}
FULL_V1 = {"instances": ["cs.LG", "a"], "parameters": {"top_k": 2, "threshold": 0.25}}


def places(content: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a body: its keys and indices from the top."""
    keys = content.keys() if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield (key,)
        yield from ((key, *below) for below in places(content[key]))


@st.composite
def mutated(draw: Any, body: dict[str, Any]) -> Any:
    """A valid body with one to three things replaced, left out, doubled or added."""
    changed = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        found = sorted(places(changed), key=repr)
        if not found:
            break
        *above, key = draw(st.sampled_from(found))
        holder = changed
        for step in above:
            holder = holder[step]
        change = draw(st.sampled_from(["replace", "replace", "omit", "add", "double"]))
        if change == "replace":
            holder[key] = draw(ODD_VALUES)
        elif change == "omit":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(ODD_TEXTS)] = draw(ODD_VALUES) if change == "add" else copy.deepcopy(holder[key])
        else:
            holder.append(draw(ODD_VALUES) if change == "add" else copy.deepcopy(holder[key]))
    return changed


@st.composite
def damaged(draw: Any, whole: bytes) -> bytes:
    """Valid bytes of which a few are overwritten, cut out, inserted or repeated."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        until = min(len(content), at + draw(st.integers(0, 12)))
        part = draw(st.sampled_from([b"", b"\0", b"\r\n", b"\xff", b"{", b"[", b'"', b"\\", b"9" * 40]) | st.binary(max_size=6))
        content[at:until] = part if draw(st.booleans()) else content[at:until] + part + content[at:until]
    return bytes(content)


# --- what is right is answered right ----------------------------------------------------------------------------------

WORDS = st.sampled_from([*LABELS, "CS.lg", "word"]) | st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=6
)
TEXTS = st.lists(st.lists(WORDS, max_size=20).map(" ".join), max_size=6)
PARAMETERS = st.fixed_dictionaries(
    {}, optional={"top_k": st.integers(1, 4), "threshold": st.sampled_from([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])}
)


def expected_labels(text: str, *, top_k: int | None = None, threshold: float | None = None) -> list[str]:
    """The labels of a text by the protocol's own words, from the words that the tiny version looks at."""
    words = {word.lower() for word in text.split(" ")[:MAX_LENGTH]}
    ranked = sorted(LABELS, key=lambda label: label.lower() not in words)
    if threshold is None and top_k is not None:
        return ranked[:top_k]
    floor = 0.5 if threshold is None else threshold
    chosen = [label for label in ranked if (SURE if label.lower() in words else UNSURE) >= floor]
    return (chosen or ([] if threshold is not None else ranked[:1]))[:top_k]


def by_v1(http: httpx.Client, _: grpc.Channel, texts: list[str], parameters: dict[str, Any]) -> list[list[str]]:
    content = http.post(PREDICT, json={"instances": texts, "parameters": parameters}).json()
    return [each["labels"] for each in content["predictions"]]


def by_json(http: httpx.Client, _: grpc.Channel, texts: list[str], parameters: dict[str, Any]) -> list[list[str]]:
    return rows(http.post(INFER, json=v2(texts, parameters=parameters)).json()["outputs"][0])


def by_binary(http: httpx.Client, _: grpc.Channel, texts: list[str], parameters: dict[str, Any]) -> list[list[str]]:
    body = v2(texts, parameters=parameters)
    del body["inputs"][0]["data"]
    raw = packed(texts)
    body["inputs"][0]["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps(body).encode()
    answer = http.post(INFER, content=head + raw, headers={"Inference-Header-Content-Length": str(len(head))})
    return rows(answer.json()["outputs"][0])


def by_grpc(_: httpx.Client, channel: grpc.Channel, texts: list[str], parameters: dict[str, Any]) -> list[list[str]]:
    asked = message([text.encode() for text in texts])
    if "top_k" in parameters:
        asked.parameters["top_k"].int64_param = parameters["top_k"]
    if "threshold" in parameters:
        asked.parameters["threshold"].string_param = str(parameters["threshold"])
    labels = GRPCInferenceServiceStub(channel).ModelInfer(asked, timeout=PATIENCE).outputs[0]
    data = [each.decode() for each in labels.contents.bytes_contents]
    return rows({"shape": list(labels.shape), "data": data})


def rows(tensor: dict[str, Any]) -> list[list[str]]:
    """The labels of each text, without the padding."""
    count, width = tensor["shape"]
    return [[label for label in tensor["data"][at * width : (at + 1) * width] if label] for at in range(count)]


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(by_json, id="v2-json"),
        pytest.param(by_binary, id="v2-binary"),
        pytest.param(by_v1, id="v1"),
        pytest.param(by_grpc, id="grpc"),
    ],
)
@given(texts=TEXTS, parameters=PARAMETERS)
@examples(150)
def test_a_valid_request_gets_the_right_labels(
    http: httpx.Client, channel: grpc.Channel, ask: Any, texts: Any, parameters: Any
) -> None:
    assert ask(http, channel, texts, parameters) == [expected_labels(text, **parameters) for text in texts]


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=4))
@examples(150)
def test_any_unicode_is_answered_alike_by_every_protocol(http: httpx.Client, channel: grpc.Channel, texts: list[str]) -> None:
    first, *others = (ask(http, channel, texts, {}) for ask in (by_json, by_binary, by_v1, by_grpc))

    assert len(first) == len(texts)
    assert others == [first] * 3


# --- bodies -----------------------------------------------------------------------------------------------------------


@given(body=mutated(FULL_V2))
@examples(600)
def test_a_v2_body_with_odd_parts_is_answered_or_refused(http: httpx.Client, body: Any) -> None:
    check(answer_of(http.post(INFER, content=json.dumps(body))))


@given(body=mutated(FULL_V1))
@examples(300)
def test_a_v1_body_with_odd_parts_is_answered_or_refused(http: httpx.Client, body: Any) -> None:
    check(answer_of(http.post(PREDICT, content=json.dumps(body))))


@pytest.mark.parametrize("path", [pytest.param(INFER, id="v2"), pytest.param(PREDICT, id="v1")])
@given(body=ODD_VALUES)
@examples(150)
def test_any_other_json_is_refused(http: httpx.Client, path: str, body: Any) -> None:
    check_refusal(answer_of(http.post(path, content=json.dumps(body))))


@pytest.mark.parametrize("path", [pytest.param(INFER, id="v2"), pytest.param(PREDICT, id="v1")])
@given(body=st.binary(max_size=60))
@examples(150)
def test_any_bytes_are_refused(http: httpx.Client, path: str, body: bytes) -> None:
    check_refusal(answer_of(http.post(path, content=body)))


@pytest.mark.parametrize(
    ("path", "body"),
    [pytest.param(INFER, v2(["cs.LG", "é\n"]), id="v2"), pytest.param(PREDICT, {"instances": ["cs.LG", "é\n"]}, id="v1")],
)
@given(data=st.data())
@examples(250)
def test_a_body_with_damaged_bytes_is_answered_or_refused(http: httpx.Client, path: str, body: Any, data: Any) -> None:
    content = data.draw(damaged(json.dumps(body, ensure_ascii=False).encode()))
    check(answer_of(http.post(path, content=content)))


@pytest.mark.parametrize("path", [pytest.param(INFER, id="v2"), pytest.param(PREDICT, id="v1")])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 1_000_000, id="deep-lists"),
        pytest.param(b'{"inputs":' * 200_000, id="deep-objects"),
        pytest.param(b'{"inputs":' + b"[" * 5_000 + b"]" * 5_000 + b"}", id="deep-and-whole"),
        pytest.param(b'{"instances":' + b"[" * 5_000 + b"]" * 5_000 + b"}", id="deep-instances"),
        pytest.param(b'{"inputs": ' + b"9" * 1_000_000 + b"}", id="long-number"),
        pytest.param(b'{"id": "' + b"\\u00e9" * 1_000_000 + b'"}', id="long-id"),
        pytest.param(json.dumps({str(key): 0 for key in range(200_000)}).encode(), id="many-keys"),
        pytest.param(json.dumps(v2(["a"] * 500_000)).encode(), id="many-texts"),
        pytest.param(b'{"inputs": [' + b"{}," * 1_000_000 + b"{}]}", id="many-inputs"),
        pytest.param(json.dumps(v2([[]] * 500_000)).encode(), id="many-lists"),
        pytest.param(json.dumps({"instances": [[]] * 500_000}).encode(), id="many-lists-as-instances"),
        pytest.param(json.dumps(v2(["a"], outputs=[{"name": "labels"}] * 100_000)).encode(), id="many-outputs"),
        pytest.param(b'{"inputs": [5], "inputs": []}', id="said-twice"),
        pytest.param(json.dumps(v2(["a"], parameters={"x" * 3_000_000: 1})).encode(), id="long-parameter"),
    ],
)
def test_a_body_of_extreme_form_is_refused_briefly(http: httpx.Client, path: str, body: bytes) -> None:
    answer = answer_of(http.post(path, content=body))

    check_refusal(answer)
    assert len(answer.body) < 2_000


HEAVY_BODIES = [
    pytest.param(INFER, b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":[', b"[],", id="lists"),
    pytest.param(INFER, b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":[', b'"",', id="texts"),
    pytest.param(INFER, b'{"inputs":[{"name":"text","datatype":"BYTES","data":["a"],"shape":[', b"1,", id="shape"),
    pytest.param(INFER, b'{"inputs":[],"outputs":[', b'{"name":"labels"},', id="outputs"),
    pytest.param(INFER, b'{"inputs":[],"parameters":{"top_k":[', b"[],", id="parameter"),
    pytest.param(PREDICT, b'{"instances":[', b"[],", id="v1-lists"),
    pytest.param(PREDICT, b'{"instances":[', b'"",', id="v1-texts"),
    pytest.param(PREDICT, b'{"id":[', b"[],", id="v1-unknown"),
]
WHOLE = 16 * 2**20  # bytes, as many as are let in


def worked(server: RunningServer) -> float:
    """Seconds of a core that the server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(("path", "head", "unit"), HEAVY_BODIES)
def test_a_heavy_body_is_refused_with_less_work_for_a_byte_than_a_right_one_takes(
    server: RunningServer, http: httpx.Client, path: str, head: bytes, unit: bytes
) -> None:
    def work(body: bytes) -> tuple[float, httpx.Response]:
        before = worked(server)
        answers_ = [http.post(path, content=body) for _ in range(4)]
        return (worked(server) - before) / len(body), answers_[0]

    text = "é" * 999_999  # of six bytes each, as Python's own encoder writes it; little of it is left once it is cut
    right = v2([text] * 2) if path == INFER else {"instances": [text] * 2}
    light, answered = work(json.dumps(right).encode())
    heavy, refused = work(head + unit * ((WHOLE - len(head)) // len(unit)))

    assert answered.status_code == 200
    check_refusal(answer_of(refused))
    assert heavy < light


# --- binary tensors ---------------------------------------------------------------------------------------------------

LENGTHS = st.sampled_from(["", "0", "-1", "+5", "1e1", "0x10", "1_0", "\u00b2", "9" * 30, "00000", "None"]) | st.integers(
    0, 200
).map(str)


@given(
    raw=st.binary(max_size=24) | damaged(packed(["cs.LG", "é"])),
    size=st.none() | st.integers(-2, 30) | ODD_VALUES,
    shape=st.lists(st.integers(-2, 4) | ODD_NUMBERS, max_size=2),
    length=st.none() | LENGTHS,
    own_size=st.booleans(),
)
@examples(500)
def test_a_binary_tensor_of_wrong_length_is_answered_or_refused(
    http: httpx.Client, raw: bytes, size: Any, shape: Any, length: str | None, own_size: bool
) -> None:
    size = len(raw) if own_size else size
    tensor = {"name": "text", "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": (str(len(head)) if length is None else length).encode("latin-1")}

    check(answer_of(http.post(INFER, content=head + raw, headers=headers)))


# --- HTTP itself ------------------------------------------------------------------------------------------------------

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "PROPFIND", "PURGE"]


def words(line: str) -> list[str]:
    return line.split()


STEPS = words(
    "v1 v2 models papers papers:predict papers:explain versions v9 infer ready health live repository index load unload explain "
    "generate generate_stream openai docs openapi.json .. ."
)
HEADER_NAMES = words(
    "Inference_Header_Content_Length Content_Type Content_Encoding Content_Length Transfer_Encoding Expect Range Accept Origin "
    "Host Upgrade Connection Sec_WebSocket_Version Sec_WebSocket_Key X_Request_ID X_HTTP_Method_Override traceparent Cookie "
    "ce_specversion ce_id ce_type ce_source"
)
HEADER_VALUES = words(
    "0 5 -1 13 1.0 bytes=0-1 gzip chunked identity websocket h2c Upgrade keep-alive 100-continue */* text/html "
    "application/cloudevents+json application/octet-stream"
)
PATHS = st.lists(
    st.sampled_from([*STEPS, ""]) | st.text(max_size=4).map(lambda text: quote(text.encode(errors="ignore"))), max_size=6
).map(lambda steps: "/" + "/".join(steps))
HEADERS = st.dictionaries(
    st.sampled_from(HEADER_NAMES),
    st.sampled_from([*HEADER_VALUES, "", "9" * 25, "x" * 9_000])
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    max_size=3,
)
KNOWN_PATHS = ("/metrics", "/v1/models", "/v1/models/papers", "/v2", "/v2/models", "/v2/models/papers", INFER, PREDICT)


def check_all(received: bytes, *, bodiless: bool = False) -> int:
    """Every response in it is an answer or a refusal; how many there are."""
    found = list(answers(received, bodiless=bodiless))
    for each in found:
        assert each.status == 200 or 400 <= each.status < 500, each
        if each.status != 200 and not bodiless:
            check_refusal(each)
    return len(found)


@given(method=st.sampled_from(METHODS), path=PATHS)
@examples(300)
def test_an_odd_path_or_method_is_answered_or_refused(server: RunningServer, method: str, path: str) -> None:
    sent = request(method, path, json.dumps(v2(["a"])).encode(), Connection="close")

    check_all(exchange(port_of(server.rest), sent), bodiless=method == "HEAD")


@pytest.mark.parametrize(
    "path", [*KNOWN_PATHS, "*", "//", "/%ff%00", "/v1/models/papers:explain", "/v2/repository/models/papers/unload", "/docs"]
)
def test_no_method_on_any_path_is_the_servers_fault(server: RunningServer, path: str) -> None:
    for method in METHODS:
        received = exchange(port_of(server.rest), request(method, path, b"{}", Connection="close"))
        assert check_all(received, bodiless=method == "HEAD") == 1


@pytest.mark.parametrize("path", ["/v2/", "/v2/models/papers/", INFER + "/", PREDICT + "/", "/metrics/"])
def test_a_slash_too_many_makes_another_path_which_is_not_there(http: httpx.Client, path: str) -> None:
    answers_ = [answer_of(http.request(method, path)) for method in ("GET", "POST")]

    assert [each.status for each in answers_] == [404, 404]
    for each in answers_:
        check_refusal(each)


@pytest.mark.parametrize("path", ["/v2", INFER, "/nowhere"])
def test_a_websocket_is_not_offered(server: RunningServer, path: str) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    sent = request("GET", path, Sec_WebSocket_Key="MDAwMDAwMDAwMDAwMDAwMA==", **headers)

    assert check_all(exchange(port_of(server.rest), sent)) <= 1


@pytest.mark.parametrize("path", [pytest.param(INFER, id="v2"), pytest.param(PREDICT, id="v1")])
@given(headers=HEADERS)
@examples(250)
def test_odd_headers_are_ignored_or_refused(server: RunningServer, path: str, headers: dict[str, str]) -> None:
    body = json.dumps(v2(["a"]) if path == INFER else {"instances": ["a"]}).encode()

    check_all(exchange(port_of(server.rest), request("POST", path, body, **headers)))


EVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "2026-01-01T00:00:00Z", "data": FULL_V1}
EVENT_BODIES = st.sampled_from(
    [b"", b"5", b"null", b"[]", b"\xff\xfe", b'"text"', json.dumps(FULL_V1).encode(), json.dumps([EVENT]).encode()]
) | mutated(EVENT).map(lambda body: json.dumps(body).encode(errors="replace"))
EVENT_HEADERS = st.fixed_dictionaries(
    {
        "ce_specversion": st.sampled_from(["1.0", "1.0", "0.3", "9", "", "1.0, 1.0"]),
        "ce_id": st.sampled_from(["1", "", "\xe9", "x" * 9_000]),
        "ce_type": st.sampled_from(["t", ""]),
        "ce_source": st.sampled_from(["s", "", "%zz"]),
    },
    optional={
        "ce_time": st.sampled_from(["2026-01-01T00:00:00Z", "yesterday", "9999-99-99T99:99:99Z", ""]),
        "ce_datacontenttype": st.sampled_from(["application/json", "text/plain", ""]),
        "ce_contenttype": st.sampled_from(["application/json", "x"]),
        "ce_dataschema": st.sampled_from(["u", ""]),
        "ce_data": st.just("x"),
        "ce_a_b": st.just("x"),
        "content_type": st.sampled_from([*HEADER_VALUES, "application/json", "text/plain", "x/;;=", ""]),
    },
)
ONLY_A_TYPE = st.fixed_dictionaries({"content_type": st.sampled_from([*HEADER_VALUES, "application/json", "x/;;=", ""])})


@pytest.mark.parametrize("path", [pytest.param(PREDICT, id="v1"), pytest.param(INFER, id="v2")])
@given(headers=EVENT_HEADERS | ONLY_A_TYPE, body=EVENT_BODIES)
@examples(100)
def test_an_odd_cloud_event_is_answered_or_refused(
    server: RunningServer, http: httpx.Client, path: str, headers: dict[str, str], body: bytes
) -> None:
    written = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
    answer = http.post(path, content=body, headers=httpx.Headers(list(written.items())))

    if answer.status_code != 200:
        check_refusal(answer_of(answer))


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        pytest.param({"ce-specversion": "9"}, b'{"instances": ["a"]}', id="unknown-version"),
        pytest.param({"ce-contenttype": "x"}, b'{"instances": ["a"]}', id="data-of-another-type"),
        pytest.param({}, b"", id="no-data"),
    ],
)
def test_what_is_no_cloud_event_gets_one_sentence(http: httpx.Client, changed: dict[str, str], body: bytes) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "s"} | changed
    answer = http.post(PREDICT, content=body, headers=headers)

    check_refusal(answer_of(answer))


WHOLE_REQUEST = request("POST", INFER, json.dumps(v2(["a"])).encode(), Content_Type="application/json")
CHUNKED = (
    f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{{}}  \r\n0\r\n\r\n".encode(),
    f"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n{WHOLE_REQUEST.decode()}".encode(),
)


@given(sent=st.binary(max_size=80) | damaged(WHOLE_REQUEST) | damaged(CHUNKED[0]) | damaged(CHUNKED[1]))
@examples(500)
def test_bytes_that_are_not_http_are_refused_or_left_unanswered(server: RunningServer, sent: bytes) -> None:
    check_all(exchange(port_of(server.rest), sent))


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"garbage\r\n\r\n", id="not-http"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="unknown-http-version"),
        pytest.param(b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", id="unknown-method"),
        pytest.param(f"POST {INFER} HTTP/1.1\r\nContent-Length: abc\r\n\r\n".encode(), id="length-not-a-number"),
        pytest.param(f"POST {INFER} HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".encode(), id="two-lengths"),
        pytest.param(f"POST {INFER} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode(), id="broken-chunk"),
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", id="long-path"),
    ],
)
def test_broken_http_is_refused_in_one_sentence(server: RunningServer, sent: bytes) -> None:
    assert check_all(exchange(port_of(server.rest), sent)) == 1


# --- gRPC -------------------------------------------------------------------------------------------------------------

REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED}
NAMES = st.sampled_from(["papers", "papers", "papers", "", "other", "text", "\0", "é", "x" * 300]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=5
)
INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 5)


@st.composite
def grpc_parameters(draw: Any, into: Any) -> None:
    for name in draw(st.lists(st.sampled_from(["top_k", "threshold", "binary_data_output", "x"]), max_size=2)):
        kind = draw(st.sampled_from(["int64_param", "bool_param", "string_param", None]))
        if kind:
            values = {"int64_param": INTS, "bool_param": st.booleans(), "string_param": NAMES}
            setattr(into[name], kind, draw(values[kind]))
        else:
            into[name].Clear()  # present, and of no kind


@st.composite
def grpc_requests(draw: Any) -> Any:
    """A request of whose fields each is right or odd."""
    asked = messages.ModelInferRequest(
        model_name=draw(NAMES), model_version=draw(st.sampled_from(["", "", "v1", "v9", "\0"])), id=draw(NAMES)
    )
    for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2]))):
        texts = draw(st.lists(st.binary(max_size=6), max_size=3))
        tensor = asked.inputs.add(
            name=draw(st.just("text") | NAMES),
            datatype=draw(st.sampled_from(["BYTES", "BYTES", "BYTES", "INT32", "", "é"])),
            shape=draw(st.just([len(texts)]) | st.lists(INTS, max_size=3)),
        )
        draw(grpc_parameters(tensor.parameters))
        filled = draw(st.sampled_from(["bytes", "raw", "ints", "nothing"]))
        if filled == "bytes":
            tensor.contents.bytes_contents.extend(texts)
        elif filled == "raw":
            asked.raw_input_contents.append(draw(st.binary(max_size=12) | st.just(packed(["a"] * len(texts)))))
        elif filled == "ints":
            tensor.contents.int_contents.extend(draw(st.lists(st.integers(-5, 5), max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        draw(
            grpc_parameters(
                asked.outputs.add(name=draw(st.sampled_from([*LABELS[:1], "labels", "scores", "probabilities", ""]))).parameters
            )
        )
    draw(grpc_parameters(asked.parameters))
    return asked


def check_status(failed: grpc.RpcError, *, allowed: set[grpc.StatusCode] = REFUSALS) -> None:
    assert failed.code() in allowed, (failed.code(), failed.details())
    assert failed.details().strip()
    assert not CLASS_NAME.search(failed.details()), failed.details()


@given(asked=grpc_requests())
@examples(500)
def test_a_grpc_message_with_odd_fields_is_answered_or_refused(channel: grpc.Channel, asked: Any) -> None:
    try:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(asked, timeout=PATIENCE)
    except grpc.RpcError as failed:
        check_status(failed)
    else:
        assert answer.model_version == "v1"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"model_name": "x" * 100_000}, id="long-name"),
        pytest.param({"model_name": "papers", "model_version": "é" * 100_000}, id="long-version"),
    ],
)
def test_a_name_of_any_length_is_not_found(channel: grpc.Channel, change: dict[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        GRPCInferenceServiceStub(channel).ModelInfer(messages.ModelInferRequest(**change), timeout=PATIENCE)

    assert failed.value.code() is grpc.StatusCode.NOT_FOUND


@given(
    method=st.sampled_from(["ModelInfer", "ModelMetadata", "ModelReady", "ServerLive", "ServerReady", "ServerMetadata"]),
    sent=st.binary(max_size=30) | damaged(message([b"cs.LG"]).SerializeToString()),
)
@examples(250)
def test_bytes_that_are_no_message_are_an_invalid_argument(channel: grpc.Channel, method: str, sent: bytes) -> None:
    call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    try:
        call(sent, timeout=PATIENCE)
    except grpc.RpcError as failed:
        check_status(failed)


@given(sent=st.binary(max_size=80) | damaged(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"))
@examples(100)
def test_bytes_that_are_not_http2_end_the_connection(server: RunningServer, sent: bytes) -> None:
    exchange(port_of(server.grpc), sent)


# --- what is left behind ----------------------------------------------------------------------------------------------


def resident(server: RunningServer) -> int:
    """Megabytes of memory."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines() if ":" in line
    )
    return int(fields["VmRSS"].split()[0]) // 1024


def test_refused_requests_leave_no_memory_behind(server: RunningServer, http: httpx.Client) -> None:
    def refuse(count: int) -> None:
        for at in range(count):
            odd = f"{at}".rjust(200_000, "x")
            bodies = [json.dumps(v2([odd], parameters={odd: 1})), json.dumps({odd: [odd]}), odd]
            check_refusal(answer_of(http.post((INFER, PREDICT)[at % 2], content=bodies[at % 3])))

    refuse(100)
    before = resident(server)
    refuse(900)

    assert resident(server) - before < 60, "the bodies alone were 240 MB"


def test_odd_names_do_not_become_metrics(server: RunningServer, http: httpx.Client, channel: grpc.Channel) -> None:
    def ask(name: str) -> None:
        http.post(f"/v2/models/{name}/infer", json=v2(["a"]))
        http.get(f"/{name}")
        exchange(port_of(server.rest), request("GET", f"/v2/models/papers/versions/{name}", Connection="close"))
        http.post(INFER, json=v2(["a"], id=name, outputs=[{"name": name}]), headers={"X-Request-ID": name})
        with pytest.raises(grpc.RpcError):
            GRPCInferenceServiceStub(channel).ModelInfer(messages.ModelInferRequest(model_name=name), timeout=PATIENCE)

    ask("first")
    before = http.get("/metrics").text.count("\n")
    for at in range(50):
        ask(f"odd{at}")

    assert http.get("/metrics").text.count("\n") == before
