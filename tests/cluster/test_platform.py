"""One `helm install` from an empty namespace to a classifier that answers, and what is left when it is uninstalled.

Needs the image of storage.minio.image, under its reference without the digest.
"""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from tests.support.chart import CHART
from tests.support.cluster.load_pod import Asking, start_load
from tests.support.cluster.namespace import Document, Namespace, wait_until
from tests.support.cluster.whole_chart import CLASSIFIER, FULL, RELEASE, helm

pytestmark = pytest.mark.cluster

SECRETS = {
    f"{FULL}-{each}"
    for each in ("storage-root", "trainer", "predictor", "gateway", "uploader", "mlflow", "gateway-keys", "valkey")
}
STORAGE_POD = f"{FULL}-storage-0"
CONNECT = """
import concurrent.futures, socket, sys

def connect(place):
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError:
        return "refused"
    return "reached"

with concurrent.futures.ThreadPoolExecutor() as pool:
    for place, end in zip(sys.argv[1:], pool.map(connect, sys.argv[1:])):
        print(place, end)
"""


def test_it_ends_with_a_served_classifier(platform: Namespace) -> None:
    status = (platform.get("textclassifier", CLASSIFIER) or {})["status"]

    assert (status["state"], status["score"] > 0.5) == ("Ready", True)


def test_its_training_is_tracked_and_its_version_registered(platform: Namespace) -> None:
    with platform.forwarded(f"service/{FULL}-mlflow", 5000) as (address,):
        client = MlflowClient(f"http://{address}")
        (experiment,) = client.search_experiments(filter_string=f"name = '{CLASSIFIER}'")
        (run,) = client.search_runs([experiment.experiment_id])
        (version,) = client.search_model_versions(f"name = '{CLASSIFIER}'")

    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/micro_f1"] > 0.5
    assert version.run_id == run.info.run_id


def test_helm_test_asks_it(platform: Namespace) -> None:
    said = helm(platform, "test", RELEASE, "--logs")

    assert f"{CLASSIFIER} answers with version {CLASSIFIER}-1-" in said
    assert "matplotlib" in said


@pytest.fixture(scope="module")
def clients(platform: Namespace, image: str) -> Asking:
    """Clients that send requests during the next tests."""
    start_load(platform, CLASSIFIER, image=image)
    found = Asking(platform)
    found.wait()
    return found


def test_an_upgrade_keeps_passwords_and_restarts_only_what_it_changes(
    platform: Namespace, platform_options: list[str], clients: Asking
) -> None:
    passwords, server, storage = passwords_of(platform), server_of(platform), uid_of(platform, STORAGE_POD)

    upgrade(platform, *platform_options, "--set=storage.resources.limits.memory=1500Mi")

    assert passwords_of(platform) == passwords
    assert server_of(platform) == server
    assert uid_of(platform, STORAGE_POD) != storage


def test_an_upgrade_to_another_image_of_the_server_rolls_it_out(
    platform: Namespace, platform_options: list[str], clients: Asking
) -> None:
    server = server_of(platform)

    # The same image under another reference.
    upgrade(
        platform, *platform_options, "--set=storage.resources.limits.memory=1500Mi", "--set=images.predictor.registry=docker.io"
    )

    wait_until(lambda: server not in servers_of(platform), "the server before is gone", seconds=300)
    assert server_of(platform) != server


def test_a_rollback_undoes_an_upgrade_to_an_image_that_does_not_exist(platform: Namespace, clients: Asking) -> None:
    """The Pod that cannot start is replaced, and nothing else restarts."""
    passwords, server, image = passwords_of(platform), server_of(platform), image_of(platform, STORAGE_POD)
    (current,) = (each["revision"] for each in revisions_of(platform) if each["status"] == "deployed")
    helm(platform, "upgrade", RELEASE, str(CHART), "--reuse-values", "--set=storage.minio.image.tag=does-not-exist")
    broken = "the Pod has the image that does not exist"
    wait_until(lambda: (image_of(platform, STORAGE_POD) or "").endswith(":does-not-exist"), broken, seconds=120)

    helm(platform, "rollback", RELEASE, str(current), "--wait", "--timeout=5m")

    assert image_of(platform, STORAGE_POD) == image
    assert passwords_of(platform) == passwords
    assert server_of(platform) == server
    assert "answers with version" in helm(platform, "test", RELEASE, "--logs")


def test_a_training_outlives_the_loss_of_the_storages_pod(platform: Namespace, clients: Asking) -> None:
    """The clients are answered meanwhile, too."""
    first = {each["metadata"]["name"] for each in runs_of(platform)}
    platform.kubectl("patch", "textclassifier", CLASSIFIER, "--type=merge", "--patch", '{"spec": {"training": {"seed": 1}}}')

    def state() -> str:
        second = next((each for each in runs_of(platform) if each["metadata"]["name"] not in first), {})
        return str(second.get("status", {}).get("state"))

    wait_until(lambda: state() == "Running", "the training runs", seconds=120, instead=state)
    before = uid_of(platform, STORAGE_POD)
    platform.kubectl("delete", "pod", STORAGE_POD)
    wait_until(lambda: uid_of(platform, STORAGE_POD) not in (None, before), "another Pod", seconds=60)
    platform.kubectl("wait", "--for=condition=Ready", f"pod/{STORAGE_POD}", "--timeout=120s")

    wait_until(lambda: state() in ("Published", "Rejected", "Failed"), "the training ends", seconds=400, instead=state)
    assert state() in ("Published", "Rejected")  # as the gate judges it
    assert "answers with version" in helm(platform, "test", RELEASE, "--logs")


def test_no_request_failed_meanwhile(platform: Namespace, clients: Asking) -> None:
    clients.stop()

    failures, answers = clients.failures(), clients.answers()
    platform.kubectl("delete", "pod/load", "configmap/load")
    assert failures == []
    assert all(sum(versions.values()) > 10 for versions in answers.values())


def upgrade(platform: Namespace, *options: str) -> None:
    helm(platform, "upgrade", RELEASE, str(CHART), "--wait", "--timeout=10m", *options)


def passwords_of(platform: Namespace) -> dict[str, Document]:
    """Passwords, and texts that contain them, of every Secret."""
    return {name: (platform.get("secret", name) or {})["data"] for name in SECRETS}


def state_of(platform: Namespace) -> str:
    return str((platform.get("textclassifier", CLASSIFIER) or {})["status"]["state"])


def servers_of(platform: Namespace) -> set[str]:
    selector = f"serving.kserve.io/inferenceservice={CLASSIFIER}"
    return {each["metadata"]["name"] for each in platform.pods(selector)}


def server_of(platform: Namespace) -> str:
    (found,) = servers_of(platform)
    return found


def runs_of(platform: Namespace) -> list[Document]:
    found: list[Document] = json.loads(platform.kubectl("get", "trainingruns", "--output=json"))["items"]
    return found


def revisions_of(platform: Namespace) -> list[Document]:
    found: list[Document] = json.loads(helm(platform, "history", RELEASE, "--output=json"))
    return found


def image_of(platform: Namespace, pod: str) -> str | None:
    found = platform.get("pod", pod)
    return str(found["spec"]["containers"][0]["image"]) if found else None


def uid_of(platform: Namespace, pod: str) -> str | None:
    found = platform.get("pod", pod)
    return str(found["metadata"]["uid"]) if found else None


# Components, and what their Pods reach: every other connection is refused.
OURS = {"app.kubernetes.io/name": "labelwright", "app.kubernetes.io/instance": RELEASE}
MADE = {"app.kubernetes.io/name": "labelwright", "app.kubernetes.io/managed-by": "labelwright"}
REACHED = {
    "controller": {"predictor", "api-server", "prometheus"},
    "storage": set[str](),
    "provisioning": {"storage"},
    "credentials": {"api-server"},
    "demo": {"storage", "api-server"},
    "question": {"predictor"},
    "prometheus": {"storage", "controller", "predictor", "grafana", "trainer", "gateway", "gateway-worker"},
    "grafana": {"prometheus"},
    "mlflow": {"storage"},
    "gateway": {"predictor", "valkey", "api-server"},
    "gateway-worker": {"predictor", "valkey", "api-server", "storage"},
    "valkey": set[str](),
    "trainer": {"storage"},
    "prune": {"storage"},
    "predictor": {"storage"},
}
BY_THE_CONTROLLER = {"trainer", "prune", "predictor"}


@pytest.fixture(scope="module")
def pods(platform: Namespace, image: str) -> dict[str, str]:
    """Names of Pods with the labels of each component, by component. Each listens at port 8080."""
    found = {each: f"labelled-as-{each}" for each in REACHED}
    made = [
        _pod(name, image, {**(MADE if each in BY_THE_CONTROLLER else OURS), "app.kubernetes.io/component": each})
        for each, name in found.items()
    ]
    platform.apply(made)
    platform.kubectl("wait", "--for=condition=Ready", "--timeout=120s", *(f"pod/{name}" for name in found.values()))
    return found


def _pod(name: str, image: str, labels: dict[str, str]) -> Document:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    command = ["python", "-m", "http.server", "8080"]
    container = {"name": "listens", "image": image, "command": command, "securityContext": security}
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


@pytest.fixture(scope="module")
def places(platform: Namespace, pods: dict[str, str]) -> dict[str, str]:
    """Address and port of each server, once the last version is served."""

    def settled() -> bool:
        return state_of(platform) == "Ready" and len(servers_of(platform)) == 1

    wait_until(settled, "the last version is served", seconds=120, instead=lambda: state_of(platform))

    def address(selector: str) -> str:
        found = (each for each in platform.pods(selector) if each["metadata"]["name"] not in pods.values())
        return str(next(each["status"]["podIP"] for each in found if "podIP" in each["status"]))

    server = json.loads(platform.kubectl("get", "endpoints", "kubernetes", "--namespace=default", "--output=json"))
    component = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component="
    return {
        "storage": f"{address(component + 'storage')}:9000",
        "controller": f"{address(component + 'controller')}:8080",
        "prometheus": f"{address(component + 'prometheus')}:9090",
        "grafana": f"{address(component + 'grafana')}:3000",
        "gateway": f"{address(component + 'gateway')}:8000",
        "gateway-worker": f"{address(component + 'gateway-worker')}:9090",
        "valkey": f"{address(component + 'valkey')}:6379",
        "predictor": f"{address(f'serving.kserve.io/inferenceservice={CLASSIFIER}')}:8080",
        "trainer": f"{(platform.get('pod', pods['trainer']) or {})['status']['podIP']}:8080",
        "api-server": f"{server['subsets'][0]['addresses'][0]['ip']}:{server['subsets'][0]['ports'][0]['port']}",
    }


@pytest.mark.parametrize("component", REACHED)
def test_a_component_reaches_what_it_needs_and_nothing_else(
    component: str, pods: dict[str, str], places: dict[str, str], platform: Namespace
) -> None:
    said = platform.kubectl("exec", pods[component], "--", "python", "-c", CONNECT, *places.values())

    reached = {name for name, place in places.items() if f"{place} reached" in said}
    itself = {"trainer"} if component == "trainer" else set()  # that place is this Pod
    assert reached == REACHED[component] | itself


def test_it_leaves_what_its_notes_say(platform: Namespace) -> None:
    platform.kubectl("delete", "pods", "--selector=app.kubernetes.io/name=labelwright", "--field-selector=status.phase=Running",
                     "--grace-period=0", "--wait=false")  # fmt: skip
    helm(platform, "uninstall", RELEASE, "--wait")

    def left() -> set[str]:
        kinds = (
            "textclassifiers,trainingruns,inferenceservices,jobs,deployments,statefulsets,services,configmaps,secrets,pvc,roles,"
            "rolebindings"
        )
        names = platform.kubectl("get", f"{kinds},serviceaccounts,networkpolicies", "--output=name").split()
        return {each.partition("/")[2] for each in names} - {"kube-root-ca.crt", "default"}

    volumes = {f"{FULL}-{each}" for each in ("storage", "prometheus", "mlflow", "valkey")}
    said = "only the Secrets and the volumes are left"
    wait_until(lambda: left() == SECRETS | volumes, said, seconds=120, instead=lambda: str(sorted(left())))


def test_a_release_of_the_same_name_finds_its_data_again(platform: Namespace, platform_options: list[str]) -> None:
    helm(platform, "install", RELEASE, str(CHART), *platform_options)

    def uploaded() -> str:
        pods = platform.pods("app.kubernetes.io/component=demo")
        return "".join(platform.log(each["metadata"]["name"], "dataset") for each in pods)

    wait_until(lambda: "exists" in uploaded(), "the dataset is found", seconds=180, instead=uploaded)
    assert passwords_of(platform).keys() == SECRETS
