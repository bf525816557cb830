"""The predictor as the real KServe starts it from the manifests, with a version that its storage initializer fetched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families

from tests.support.cluster.namespace import Namespace
from tests.support.cluster.served import Served
from tests.support.versions import LABELS

pytestmark = pytest.mark.cluster

SURE = pytest.approx(0.880797, abs=1e-5)
# What the server's process may do, as the kernel tells it, and what happens where it must not write.
LOOK = """
import json, os, pathlib
def can_write(folder):
    try:
        pathlib.Path(folder, "probe").write_text("")
    except OSError:
        return False
    return True
status = dict(line.split(":\\t", 1) for line in pathlib.Path("/proc/1/status").read_text().splitlines() if ":\\t" in line)
print(json.dumps({
    "user": int(status["Uid"].split()[0]), "group": int(status["Gid"].split()[0]),
    "capabilities": int(status["CapBnd"], 16),
    "no new privileges": status["NoNewPrivs"] == "1", "seccomp": status["Seccomp"] == "2",
    "writes": [folder for folder in ("/", "/app", "/opt/labelwright", "/mnt/models", "/tmp") if can_write(folder)],
}))
"""


@pytest.fixture(scope="module")
def served(serve: Callable[[str, str], Served], published: Callable[[str], str]) -> Served:
    return serve("papers", published("20260101-000000"))


@pytest.fixture(scope="module")
def asked(served: Served) -> Iterator[tuple[httpx.Client, str]]:
    with served.asked() as found:
        yield found


@pytest.fixture(scope="module")
def http(asked: tuple[httpx.Client, str]) -> httpx.Client:
    return asked[0]


def test_v2_answers_with_labels_and_the_version(http: httpx.Client) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["cs.LG and math.CO"]}
    answer = http.post("/v2/models/papers/infer", json={"inputs": [tensor]})

    assert answer.status_code == 200
    assert answer.json()["model_version"] == "20260101-000000"
    labels, scores = answer.json()["outputs"]
    assert labels["data"] == ["cs.LG", "math.CO"]
    assert scores["data"] == [SURE, SURE]


def test_v1_answers_with_labels(http: httpx.Client) -> None:
    answer = http.post("/v1/models/papers:predict", json={"instances": ["stat.ML"]})

    assert answer.json() == {"predictions": [{"labels": ["stat.ML"], "scores": [SURE]}]}


def test_grpc_answers_with_labels_and_the_version(asked: tuple[httpx.Client, str]) -> None:
    tensor = messages.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(b"stat.ML")
    with grpc.insecure_channel(asked[1]) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(messages.ModelInferRequest(model_name="papers", inputs=[tensor]))

    assert answer.model_version == "20260101-000000"
    assert list(answer.outputs[0].contents.bytes_contents) == [b"stat.ML"]


def test_metadata_tell_the_labels_in_order_and_the_version(http: httpx.Client) -> None:
    found = http.get("/v2/models/papers").json()

    assert found["versions"] == ["20260101-000000"]
    assert found["parameters"]["labels"] == list(LABELS)


def test_the_server_tells_its_own_version(http: httpx.Client) -> None:
    assert http.get("/v2").json()["name"] == "labelwright"


def test_metrics_are_where_the_pod_says_they_are(served: Served) -> None:
    (pod,) = served.pods()
    said = {key: value for key, value in pod["metadata"]["annotations"].items() if key.startswith("prometheus.io/")}
    with served.namespace.forwarded(f"pod/{pod['metadata']['name']}", int(said["prometheus.io/port"])) as (address,):
        page = httpx.get(f"http://{address}{said['prometheus.io/path']}").text

    (info,) = (each for each in text_string_to_metric_families(page) if each.name == "labelwright_model_info")
    assert said["prometheus.io/scrape"] == "true"
    assert info.samples[0].labels["version"] == "20260101-000000"


def test_the_process_is_confined(served: Served) -> None:
    seen = json.loads(
        served.namespace.kubectl(
            "exec", f"deployment/{served.name}-predictor", "-c", "kserve-container", "--", "python", "-c", LOOK
        )
    )

    assert seen == {
        "user": 65532,
        "group": 65532,
        "capabilities": 0,
        "no new privileges": True,
        "seccomp": True,
        "writes": ["/tmp"],
    }


def test_the_credentials_stay_with_the_storage_initializer(served: Served) -> None:
    (pod,) = served.pods()
    (fetching,), (serving,) = pod["spec"]["initContainers"], pod["spec"]["containers"]

    assert "AWS_SECRET_ACCESS_KEY" in {each["name"] for each in fetching["env"]}
    assert not {each["name"] for each in serving.get("env", [])} & {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert not any("token" in each["name"] or "kube-api-access" in each["name"] for each in serving["volumeMounts"])


def test_the_namespace_admits_nothing_that_is_not_restricted(prepared: Namespace) -> None:
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        prepared.kubectl("run", "free", "--image=any")
