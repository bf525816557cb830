"""One `helm install` from an empty namespace to a classifier that answers, and what is left when it is uninstalled.

Needs the image of storage.minio.image, under its reference without the digest.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import CHART
from tests.support.cluster.namespace import Document, Namespace, wait_until

pytestmark = pytest.mark.cluster

RELEASE, FULL, NAME = "lw", "lw-labelwright", "docstrings"
SECRETS = {f"{FULL}-{each}" for each in ("storage-root", "trainer", "predictor", "gateway", "uploader")}
CONNECT = """
import socket, sys
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        print(place, "reached")
    except OSError:
        print(place, "refused")
"""


def helm(place: Namespace, *arguments: str) -> str:
    done = subprocess.run(
        ["helm", *arguments, f"--namespace={place.name}"], capture_output=True, text=True, check=False, timeout=1200
    )
    assert done.returncode == 0, f"{done.stderr}\n{place.kubectl('get', 'pods,jobs,textclassifiers', '--output=wide')}"
    return done.stdout


@pytest.fixture(scope="module")
def values(release: dict[str, Any]) -> list[str]:
    """Options of helm: the images that are tested, and a training that a small node has room for."""
    given = {name: value for name, value in release.items() if name.startswith("images.")} | {
        "crds.enabled": False,
        "demo.enabled": True,
        "storage.minio.image.digest": "",
        "storage.persistence.size": "1Gi",
        "demo.training.resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "3Gi"}},
    }
    return [f"--set-json={name}={json.dumps(value)}" for name, value in given.items()]


@pytest.fixture(scope="module")
def platform(values: list[str]) -> Iterator[Namespace]:
    found = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    metadata = {"name": found.name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    found.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
    start = time.monotonic()
    said = helm(found, "install", RELEASE, str(CHART), "--wait", "--wait-for-jobs", "--timeout=15m", *values)
    logging.getLogger(__name__).warning("installed, trained and served in %.0f s\n%s", time.monotonic() - start, said)
    yield found
    found.kubectl("delete", "namespace", found.name, "--wait=false")


def test_it_ends_with_a_served_classifier(platform: Namespace) -> None:
    status = (platform.get("textclassifier", NAME) or {})["status"]

    assert (status["state"], status["score"] > 0.5) == ("Ready", True)


def test_helm_test_asks_it(platform: Namespace) -> None:
    said = helm(platform, "test", RELEASE, "--logs")

    assert f"{NAME} answers with version {NAME}-1-" in said
    assert "matplotlib" in said


def test_an_upgrade_keeps_passwords_and_versions(platform: Namespace, values: list[str]) -> None:
    before = {name: (platform.get("secret", name) or {})["data"] for name in SECRETS}

    helm(
        platform,
        "upgrade",
        RELEASE,
        str(CHART),
        "--wait",
        "--timeout=10m",
        *values,
        "--set=storage.resources.limits.memory=1500Mi",
    )

    after = {name: (platform.get("secret", name) or {})["data"] for name in SECRETS}
    key = "AWS_SECRET_ACCESS_KEY"
    assert {name: data[key] for name, data in after.items()} == {name: data[key] for name, data in before.items()}


def test_the_storage_comes_back_with_what_it_had(platform: Namespace) -> None:
    pod = f"{FULL}-storage-0"
    before = (platform.get("pod", pod) or {})["metadata"]["uid"]
    platform.kubectl("delete", "pod", pod)

    wait_until(lambda: (platform.get("pod", pod) or {"metadata": {"uid": before}})["metadata"]["uid"] != before,
               "another Pod", seconds=60)  # fmt: skip
    platform.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s")
    assert "answers with version" in helm(platform, "test", RELEASE, "--logs")


# Components whose Pods ask, and what they reach: every other arrow is refused.
OURS = {"app.kubernetes.io/name": "labelwright", "app.kubernetes.io/instance": RELEASE}
MADE = {"app.kubernetes.io/name": "labelwright", "app.kubernetes.io/managed-by": "labelwright"}
REACHED = {
    "controller": {"predictor", "api-server"},
    "storage": set[str](),
    "provisioning": {"storage"},
    "credentials": {"api-server"},
    "demo": {"storage", "api-server"},
    "question": {"predictor"},
    "prometheus": {"storage", "controller", "predictor", "api-server"},
    "grafana": set[str](),
    "mlflow": {"storage"},
    "trainer": {"storage"},
    "prune": {"storage"},
    "predictor": {"storage"},
}


@pytest.fixture(scope="module")
def asking(platform: Namespace, image: str) -> dict[str, str]:
    """The name of a Pod with the labels of each component, which serves nothing."""
    made = {"trainer", "prune", "predictor"}
    pods = {each: f"asks-as-{each}" for each in REACHED}
    platform.apply([_pod(name, image, {**(MADE if each in made else OURS), "app.kubernetes.io/component": each})
                    for each, name in pods.items()])  # fmt: skip
    platform.kubectl("wait", "--for=condition=Ready", "--timeout=120s", *(f"pod/{name}" for name in pods.values()))
    return pods


def _pod(name: str, image: str, labels: dict[str, str]) -> Document:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {"name": "asks", "image": image, "command": ["sleep", "3600"], "securityContext": security}
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


@pytest.fixture(scope="module")
def places(platform: Namespace) -> dict[str, str]:
    """Address and port of what may be asked."""

    def address(selector: str) -> str:
        return str(next(each for each in platform.pods(selector) if "podIP" in each["status"] and not
                        each["metadata"]["name"].startswith("asks-"))["status"]["podIP"])  # fmt: skip

    server = json.loads(platform.kubectl("get", "endpoints", "kubernetes", "--namespace=default", "--output=json"))
    component = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component="
    return {
        "storage": f"{address(component + 'storage')}:9000",
        "controller": f"{address(component + 'controller')}:8080",
        "predictor": f"{address(f'serving.kserve.io/inferenceservice={NAME}')}:8080",
        "api-server": f"{server['subsets'][0]['addresses'][0]['ip']}:{server['subsets'][0]['ports'][0]['port']}",
    }


@pytest.mark.parametrize("component", REACHED)
def test_a_component_reaches_what_it_needs_and_nothing_else(
    component: str, asking: dict[str, str], places: dict[str, str], platform: Namespace
) -> None:
    said = platform.kubectl("exec", asking[component], "--", "python", "-c", CONNECT, *places.values())

    reached = {name for name, place in places.items() if f"{place} reached" in said}
    assert reached == REACHED[component]


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

    wait_until(lambda: left() == SECRETS | {f"{FULL}-storage"}, "only the Secrets and the volume are left", seconds=120,
               instead=lambda: str(sorted(left())))  # fmt: skip


def test_a_release_of_the_same_name_finds_its_data_again(platform: Namespace, values: list[str], tmp_path: Path) -> None:
    helm(platform, "install", RELEASE, str(CHART), "--wait", "--timeout=15m", *values)

    assert "exists" in platform.kubectl("logs", "--selector=app.kubernetes.io/component=demo", "--container=dataset")
