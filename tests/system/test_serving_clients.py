"""Clients that people use, as they come, against a served version. `docs/protocol.md` has a table of what each does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest
import requests
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from model.serving.grpc_standard import MAX_WATCHERS
from tests.support.servers import RunningServer, serving
from tests.support.versions import make_version

CLIENTS = Path(__file__).parent / "clients"
INFER = "/v2/models/papers/infer"
GRACE_SECONDS = 60
PATIENCE = 90.0  # seconds for one client to start and ask


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("served")
    with serving(make_version(folder / "v1"), folder / "log") as running:
        yield running


def printed(*command: str) -> str:
    """Run a command and return its standard output. Fails with its standard error."""
    finished = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def labels_of(body: str) -> list[str]:
    """The labels of a v2 answer over REST, padding included."""
    (labels,) = (each["data"] for each in json.loads(body)["outputs"] if each["name"] == "labels")
    found: list[str] = labels
    return found


def v2(*texts: str, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}], **more}


# --- Java -----------------------------------------------------------------------------------------------------------


def test_the_jdks_client_is_answered_though_it_offers_http_2_with_every_request(server: RunningServer) -> None:
    lines = printed("java", str(CLIENTS / "Client.java"), server.rest).splitlines()
    answers = {name: (int(status), body) for name, status, body in (line.split("\t") for line in lines)}

    assert answers.pop("ready")[0] == 200
    assert answers.pop("refused") == (400, '{"error":"the body is not JSON: Input data was truncated"}')
    assert {name: (status, labels_of(body)) for name, (status, body) in answers.items()} == dict.fromkeys(
        ["json", "again", "chunked", "expect-continue", "large", "async"], (200, ["cs.LG"])
    )
    assert "Unsupported upgrade" not in server.log.read_text()


# --- curl -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--http2"], id="offering-http2"),
        pytest.param(["--http1.0"], id="http-1.0"),
        pytest.param(["--header", "Transfer-Encoding: chunked"], id="chunked"),
        pytest.param(["--header", "Expect: 100-continue"], id="expecting-100-continue"),
        pytest.param(["--http2", "--header", "Expect: 100-continue"], id="offering-and-expecting"),
        pytest.param(["--compressed"], id="taking-compressed-answers"),
        pytest.param(["--request-target", f"http://elsewhere{INFER}"], id="absolute-target"),
    ],
)
def test_curl_is_answered(server: RunningServer, options: list[str]) -> None:
    body = printed("curl", "--silent", "--show-error", "--fail", *options, server.rest + INFER, "--data", json.dumps(v2("cs.LG")))

    assert labels_of(body) == ["cs.LG"]


def test_curl_is_answered_about_a_body_so_large_that_it_asks_before_it_sends_it(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "body").write_text(json.dumps(v2("cs.LG", *["word " * 100_000] * 4)))
    options = ["--silent", "--show-error", "--fail", "--http2", "--data-binary", f"@{tmp_path / 'body'}"]

    assert labels_of(printed("curl", *options, server.rest + INFER))[0] == "cs.LG"


# --- NVIDIA's tritonclient ------------------------------------------------------------------------------------------

BOTH, ONE = [["cs.LG", "math.CO"], ["stat.ML", ""]], [["cs.LG"]]
OF_BOTH = {
    "ready": [True, True, True],
    "infer": BOTH,
    "column": [["cs.LG"], ["stat.ML"]],
    "scores": [[pytest.approx(0.88)], [pytest.approx(0.88), pytest.approx(0.12), pytest.approx(0.12)]],
    "version": BOTH,
    "top-k": [["cs.LG"], ["stat.ML"]],
    "threshold": ONE,
    "priority": BOTH,
    "timeout": BOTH,
    "compressed-answer": BOTH,
    "async": ONE,
    "asyncio": ONE,
}
REFUSED_BY_BOTH = {
    "threshold-above-1": "parameter threshold is 1.5: expected a number from 0 to 1",
    "unknown-number": 'parameter "temperature" is not known: expected top_k or threshold',
    "unknown-integer": 'parameter "beams" is not known: expected top_k or threshold',
    "sequence": "parameter sequence_id is 7: expected none, since each text is classified on its own",
    "classification": 'outputs[0].parameters has "classification": expected binary_data; '
    "top_k and threshold go in the request's own parameters",
}
OF_ONE = {
    "http-json": ONE,
    "http-compressed-request": ["400", 'header Content-Encoding is "gzip": expected no compression'],
    "http-metadata": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
    "http-config": ["404", "Not Found."],
    "grpc-client-timeout": ONE,
    "grpc-metadata": [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}],
    "grpc-config": ["StatusCode.UNIMPLEMENTED", "Method not found!"],
}


def test_tritons_client_is_served_or_gets_an_error_for_what_is_not_supported(server: RunningServer) -> None:
    rest = server.rest.removeprefix("http://")
    outcomes = json.loads(printed(sys.executable, str(CLIENTS / "triton.py"), rest, server.grpc))

    expected: dict[str, Any] = dict(OF_ONE)
    for transport, status in (("http", "400"), ("grpc", "StatusCode.INVALID_ARGUMENT")):
        expected |= {f"{transport}-{case}": told for case, told in OF_BOTH.items()}
        expected |= {f"{transport}-{case}": [status, sentence] for case, sentence in REFUSED_BY_BOTH.items()}
    assert outcomes == expected


# --- MLServer's codecs, python-requests -----------------------------------------------------------------------------


def encoded(*texts: str, content_type: str = "str") -> dict[str, Any]:
    """An input as MLServer's StringCodec encodes it."""
    parameters = {"content_type": content_type}
    return {"name": "text", "shape": [len(texts), 1], "datatype": "BYTES", "parameters": parameters, "data": list(texts)}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"inputs": [encoded("cs.LG", "stat.ML")]}, id="string-codec"),
        pytest.param({"parameters": {"content_type": "str"}, "inputs": [encoded("cs.LG", "stat.ML")]}, id="string-request-codec"),
        pytest.param(
            {"parameters": {"content_type": "pd"}, "inputs": [encoded("cs.LG", "stat.ML")]}, id="pandas-codec-of-a-column"
        ),
        pytest.param(
            {"id": None, "parameters": None, "inputs": [encoded("cs.LG", "stat.ML")], "outputs": []}, id="with-what-is-not-set"
        ),
        pytest.param({"inputs": [encoded() | {"shape": [2, 1], "data": [["cs.LG"], ["stat.ML"]]}]}, id="nested"),
    ],
)
def test_what_mlservers_codecs_write_is_answered(server: RunningServer, body: dict[str, Any]) -> None:
    answer = requests.post(server.rest + INFER, json=body, timeout=PATIENCE)

    assert labels_of(answer.text) == ["cs.LG", "stat.ML"]


def test_what_mlserver_would_decode_before_it_is_a_text_is_refused(server: RunningServer) -> None:
    answer = requests.post(server.rest + INFER, json={"inputs": [encoded("Y3MuTEc=", content_type="base64")]}, timeout=PATIENCE)

    sentence = 'inputs[0].parameters.content_type is "base64": expected str, since every element is a text'
    assert (answer.status_code, answer.json()) == (400, {"error": sentence})


def test_v1_instances_may_be_objects(server: RunningServer) -> None:
    body = {"instances": [{"text": "cs.LG"}, "stat.ML"]}
    answer = requests.post(f"{server.rest}/v1/models/papers:predict", json=body, timeout=PATIENCE)

    assert [each["labels"] for each in answer.json()["predictions"]] == [["cs.LG"], ["stat.ML"]]


# --- gRPC's own services --------------------------------------------------------------------------------------------

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
REFLECTIONS = ["grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"]


def health(service: str) -> Any:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.mark.parametrize("service", ["", "papers", "inference.GRPCInferenceService", "grpc.health.v1.Health"])
def test_grpc_health_says_that_the_server_and_its_model_serve(channel: grpc.Channel, service: str) -> None:
    stub = HealthStub(channel)
    watching = stub.Watch(health(service), timeout=PATIENCE)

    assert stub.Check(health(service)).status == SERVING
    assert next(watching).status == SERVING
    watching.cancel()


def test_grpc_health_of_another_model_is_not_found(channel: grpc.Channel) -> None:
    stub = HealthStub(channel)
    watching = stub.Watch(health("other"), timeout=PATIENCE)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(health("other"))

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert refused.value.details().startswith('Service "other" is not known: expected "", "papers" or ')
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watching.cancel()


def test_a_watcher_beyond_the_limit_gets_an_error(server: RunningServer) -> None:
    with (
        grpc.insecure_channel(server.grpc) as one,
        grpc.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as another,
    ):
        watching = [HealthStub(one).Watch(health("")) for _ in range(MAX_WATCHERS)]
        assert {next(each).status for each in watching} == {SERVING}
        with pytest.raises(grpc.RpcError) as refused:
            next(HealthStub(another).Watch(health("")))
        still = HealthStub(another).Check(health("")).status
        for each in watching:
            each.cancel()

    assert refused.value.details() == "Too many clients watch: at most 1024 may. Use Check instead."
    assert still == SERVING


def reflecting(channel: grpc.Channel, name: str, *, send: Any = ServerReflectionRequest.SerializeToString) -> Any:
    """The stream's method, whose messages are the same in both versions."""
    read = ServerReflectionResponse.FromString
    return channel.stream_stream(f"/{name}/ServerReflectionInfo", request_serializer=send, response_deserializer=read)


@pytest.mark.parametrize("name", REFLECTIONS)
def test_reflection_tells_the_services_and_their_messages(channel: grpc.Channel, name: str) -> None:
    asked = [
        ServerReflectionRequest(list_services=""),
        ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
        ServerReflectionRequest(file_containing_symbol="inference.Nothing"),
    ]
    services, file, nothing = reflecting(channel, name)(iter(asked), timeout=PATIENCE)

    assert {each.name for each in services.list_services_response.service} == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    }
    (described,) = (FileDescriptorProto.FromString(each) for each in file.file_descriptor_response.file_descriptor_proto)
    assert "ModelInferRequest" in {each.name for each in described.message_type}
    assert nothing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize(
    "path", ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch", f"{REFLECTIONS[1]}/ServerReflectionInfo"]
)
def test_bytes_that_are_no_message_are_the_clients_fault(channel: grpc.Channel, path: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        list(channel.stream_stream(f"/{path}")(iter([b"\xff\xff"]), timeout=PATIENCE))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith("the request's bytes cannot be read: expected a message ")


def test_watchers_learn_that_the_server_stops_and_do_not_delay_it(tmp_path: Path) -> None:
    with serving(make_version(tmp_path / "v1"), tmp_path / "log", options=[f"--grace-seconds={GRACE_SECONDS}"]) as running:
        with grpc.insecure_channel(running.grpc) as channel:
            watching = HealthStub(channel).Watch(health("papers"))
            first = next(watching).status
            over = Event()
            told = reflecting(channel, REFLECTIONS[0])(_one_until(over))
            next(told)
            started = time.monotonic()
            status = running.terminate()
            seconds = time.monotonic() - started

            over.set()
            assert (first, [each.status for each in watching], list(told)) == (SERVING, [NOT_SERVING], [])
        assert status == 0
        assert seconds < GRACE_SECONDS / 2  # all of which the streams could have held it up


def _one_until(over: Event) -> Iterator[ServerReflectionRequest]:
    """One request; the stream stays open for more until it is over."""
    yield ServerReflectionRequest(list_services="")
    over.wait(PATIENCE)
