"""A namespace that admits only what is restricted, with an S3, versions in it, and the manifests but for the InferenceService."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
import yaml

from model.artifact import GRAPH, publish, read_manifest
from model.storage import ObjectStore, open_store
from tests.support.chart import CHART
from tests.support.cluster.controlled import MANIFESTS as CONTROLLED
from tests.support.cluster.controlled import ControllerRelease
from tests.support.cluster.load_pod import start_load
from tests.support.cluster.namespace import Namespace
from tests.support.cluster.served import MAX_START_SECONDS, Served, documents
from tests.support.cluster.whole_chart import RELEASE, VALUES, helm
from tests.support.versions import make_version

HERE = Path(__file__).parent
KEY, SECRET, REGION = "labelwright", "labelwright-secret", "us-east-1"
ENFORCE = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="session")
def image() -> str:
    """The predictor's image: that of the manifests unless PREDICTOR_IMAGE names another."""
    (runtime,) = documents(kind="ServingRuntime")
    return os.environ.get("PREDICTOR_IMAGE") or runtime["spec"]["containers"][0]["image"]


@pytest.fixture(scope="session")
def trainer_image() -> str:
    """The trainer's image: that of the manifest unless TRAINER_IMAGE names another."""
    (job,) = documents(kind="Job")
    return os.environ.get("TRAINER_IMAGE") or job["spec"]["template"]["spec"]["containers"][0]["image"]


@pytest.fixture(scope="session")
def controller_image() -> str:
    """The controller's image, unless CONTROLLER_IMAGE names another."""
    return os.environ.get("CONTROLLER_IMAGE") or "labelwright/controller:dev"


@pytest.fixture(scope="session")
def gateway_image() -> str:
    """The gateway's image, unless GATEWAY_IMAGE names another."""
    return os.environ.get("GATEWAY_IMAGE") or "labelwright/gateway:dev"


@pytest.fixture(scope="session")
def namespace() -> Iterator[Namespace]:
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG is not set: these tests need a cluster with KServe and the predictor's image.", pytrace=False)
    if not shutil.which("kubectl"):
        pytest.fail("kubectl is not on the PATH: these tests need it.", pytrace=False)
    found = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    found.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found.name, "labels": ENFORCE}}])
    yield found
    subprocess.run(["kubectl", "delete", "namespace", found.name, "--wait=false"], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def versions(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Store of the versions in the cluster's S3."""
    namespace.apply(list(yaml.safe_load_all((HERE / "minio.yaml").read_text())))
    namespace.kubectl("wait", "--for=condition=Ready", "pod/minio", f"--timeout={MAX_START_SECONDS:g}s")
    with namespace.forwarded("pod/minio", 9000) as (address,), pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION,
        }.items():
            environment.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="models")
        yield open_store("s3://models/papers/")


@pytest.fixture(scope="session")
def published(versions: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Publish a version of that name; its URI."""

    def publish_one(name: str) -> str:
        folder = make_version(tmp_path_factory.mktemp("version") / name, version=name)
        return publish(folder, read_manifest(folder), open_store(f"{versions.uri}{name}/")).uri

    return publish_one


@pytest.fixture(scope="session")
def altered(versions: ObjectStore, published: Callable[[str], str]) -> str:
    """The URI of a version whose graph is not what was published."""
    uri = published("altered")
    key = f"altered/{GRAPH}"
    versions.write(key, versions.read(key)[:-1] + b"?")
    return uri


@pytest.fixture(scope="session")
def prepared(namespace: Namespace, versions: ObjectStore, image: str) -> Namespace:
    """The namespace with the manifests in it, but for the InferenceService."""
    (runtime,), (secret,) = documents(kind="ServingRuntime"), documents(kind="Secret")
    runtime["spec"]["containers"][0]["image"] = image
    secret["metadata"]["annotations"]["serving.kserve.io/s3-endpoint"] = f"minio.{namespace.name}:9000"
    secret["stringData"] |= {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": f"http://minio.{namespace.name}:9000",
    }
    namespace.apply([runtime, secret, *documents(kind="ServiceAccount")])
    return namespace


@pytest.fixture(scope="module")
def serve(prepared: Namespace) -> Iterator[Callable[[str, str], Served]]:
    """Serve a version under a name, and wait until it is; gone after the module."""
    began: list[Served] = []

    def serve_one(name: str, version: str) -> Served:
        served = Served(prepared, name)
        began.append(served)
        served.apply(version)
        served.wait_for(version)
        return served

    yield serve_one
    for each in began:
        each.delete()


@pytest.fixture(scope="module")
def load(prepared: Namespace, image: str) -> Iterator[Callable[[Served], None]]:
    """Start asking that classifier in every way, from a Pod."""
    yield lambda served: start_load(prepared, served.name, image=image)
    prepared.kubectl("delete", "pod", "load", "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="session")
def crds(namespace: Namespace) -> None:
    """The CRDs, as they are in the manifests."""
    file = CONTROLLED / "00-crds.yaml"
    namespace.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file))
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(file.read_text())]
    namespace.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", *names)


@pytest.fixture(scope="session")
def release(crds: None, images: dict[str, object]) -> dict[str, object]:
    """Values of the chart for a release beside others, with the images that are tested."""
    if not shutil.which("helm"):
        pytest.fail("helm is not on the PATH: these tests need it.", pytrace=False)
    values: dict[str, object] = {
        "crds.enabled": False,
        "controller.logFormat": "text",
        # The tests have a storage of their own, at which the release's policies allow no Pod to ask.
        "storage.kind": "external",
        "networkPolicy.enabled": False,
        "prometheus.kind": "none",
        "grafana.kind": "none",
    }
    return values | images


@pytest.fixture(scope="session")
def images(controller_image: str, trainer_image: str, gateway_image: str, image: str) -> dict[str, object]:
    """Values of the chart with the images that are tested."""
    ours = {"controller": controller_image, "trainer": trainer_image, "gateway": gateway_image}
    references = {**ours, "predictor": image}
    parts = {name: each.rpartition(":") for name, each in references.items()}
    return {f"images.{name}": {"repository": repository, "tag": tag} for name, (repository, _, tag) in parts.items()}


@pytest.fixture(scope="session")
def platform_options(images: dict[str, object]) -> list[str]:
    """Options of helm for the whole platform."""
    return [f"--set-json={name}={json.dumps(value)}" for name, value in {**VALUES, **images}.items()]


@pytest.fixture(scope="session")
def platform(crds: None, platform_options: list[str]) -> Iterator[Namespace]:
    """The whole platform, installed in an empty namespace. The tests of test_platform.py upgrade and uninstall it, last."""
    found = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    found.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found.name, "labels": ENFORCE}}])
    start = time.monotonic()
    said = helm(found, "install", RELEASE, str(CHART), "--wait", "--wait-for-jobs", "--timeout=15m", *platform_options)
    logging.getLogger(__name__).warning("installed, trained and served in %.0f s\n%s", time.monotonic() - start, said)
    yield found
    found.kubectl("delete", "namespace", found.name, "--wait=false")


@pytest.fixture(scope="session")
def controller(namespace: Namespace, versions: ObjectStore, release: dict[str, object]) -> Iterator[ControllerRelease]:
    """Two replicas by the chart, with the rights that it gives, and the Secret that the TextClassifiers name."""
    (secret,) = yaml.safe_load_all((CONTROLLED / "00-object-storage.yaml").read_text())
    secret["stringData"] |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": "http://minio:9000"}
    namespace.apply([secret])
    found = ControllerRelease(namespace)
    found.install({**release, "controller.replicas": 2})
    found.let_it_be_killed()
    yield found
    found.uninstall()
