"""The chart: what it renders is accepted as it stands, says what the values say, and gives no right that is not used."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import CASES, CHART, RELEASE, Document, case
from tests.support.cluster.namespace import Namespace

NAME = "lw-labelwright-controller"


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    if not shutil.which("helm"):
        pytest.fail("helm is not on the PATH: these tests need it.", pytrace=False)


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    command = ["helm", *arguments, *(f"--set-json={path}={json.dumps(value)}" for path, value in (values or {}).items())]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


# Kinds that no API server knows without a CRD: ours are installed by other tests, the operator's are not.
UNKNOWN = ("CustomResourceDefinition", "PodMonitor", "PrometheusRule")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.removesuffix("-values"))
def test_the_api_server_accepts_what_is_rendered_without_a_warning(path: Path, namespace: Namespace) -> None:
    """With `enforce: restricted` on the namespace, the API server warns of each Pod that it would not admit."""
    documents = [in_namespace(each, namespace.name) for each in case(path).documents if each["kind"] not in UNKNOWN]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    command = ["kubectl", f"--namespace={namespace.name}", "apply", "--dry-run=server", "--validate=strict", "-f", "-"]
    done = subprocess.run(command, input=listed, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def in_namespace(document: Document, name: str) -> Document:
    """Return the object for that namespace. A Pod gets its default ServiceAccount, since a dry run does not create the Pod's."""
    if "namespace" not in document["metadata"]:
        return document
    found = {**document, "metadata": {**document["metadata"], "namespace": name}}
    return found if found["kind"] != "Pod" else {**found, "spec": {**found["spec"], "serviceAccountName": "default"}}


@pytest.mark.parametrize(
    ("here", "instead", "said"),
    [
        pytest.param('"serving.kserve.io/v1beta1/InferenceService"', '"none.example/v1/None"', "is not installed", id="absent"),
        pytest.param('"deploymentMode"', '"noSuchField"', "is too old", id="too-old"),
    ],
)
def test_without_a_kserve_that_can_serve_the_installation_fails_with_the_commands(
    here: str, instead: str, said: str, namespace: Namespace, tmp_path: Path
) -> None:
    """Let the check look for something that this cluster lacks, as if the cluster were another one."""
    chart = shutil.copytree(CHART, tmp_path / "labelwright")
    checks = chart / "templates" / "checks.yaml"
    checks.write_text(checks.read_text().replace(here, instead))
    command = ("install", "kserve-check", str(chart), f"--namespace={namespace.name}", "--dry-run=server")

    # Without a replica, so that it is no second controller of the namespace.
    values: dict[str, Any] = {"controller.replicas": 0}
    failed, allowed = helm(*command, values=values), helm(*command, values={**values, "kserve.required": False})

    assert failed.returncode != 0
    assert said in failed.stderr
    assert "helm install kserve-crd oci://" in failed.stderr
    assert allowed.returncode == 0, allowed.stderr
    command = ("install", "kserve-check", str(CHART), f"--namespace={namespace.name}", "--dry-run=server")
    assert helm(*command, values=values).returncode == 0


def test_a_second_release_for_the_same_namespace_is_refused(installed: Namespace) -> None:
    command = ("install", "second", str(CHART), f"--namespace={installed.name}", "--dry-run=server")

    done = helm(*command, values={"crds.enabled": False})

    assert done.returncode != 0
    assert f"The release {RELEASE} in the namespace {installed.name} already uses the namespace {installed.name}" in done.stderr


@pytest.mark.parametrize("path", sorted((CHART / "templates" / "crds").iterdir()), ids=lambda path: path.stem)
def test_a_crd_is_small_enough_for_a_client_side_apply(path: Path) -> None:
    assert path.stat().st_size < 262_144 / 2  # its JSON becomes an annotation


@pytest.fixture(scope="module")
def alone(crds: None) -> Iterator[Namespace]:
    """A namespace that no controller looks after but the one that is installed there."""
    found = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    metadata = {"name": found.name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    found.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
    yield found
    found.kubectl("delete", "namespace", found.name, "--wait=false")


@pytest.fixture(scope="module")
def installed(alone: Namespace, controller_image: str) -> Iterator[Namespace]:
    """A release in it."""
    repository, _, tag = controller_image.rpartition(":")
    values = {
        "crds.enabled": False,
        "storage.kind": "external",
        "images.controller": {"repository": repository, "tag": tag},
        "controller.replicas": 2,
        "prometheus.kind": "none",
        "grafana.kind": "none",
    }
    done = helm("install", RELEASE, str(CHART), f"--namespace={alone.name}", "--wait", "--timeout=90s", values=values)
    assert done.returncode == 0, done.stderr
    assert f"watches the TextClassifiers of {alone.name}." in done.stdout
    assert f"\n  {controller_image}\n  labelwright/trainer:0.1.0\n  labelwright/predictor:0.1.0\n" in done.stdout
    yield alone
    helm("uninstall", RELEASE, f"--namespace={alone.name}", "--wait")


def test_an_installed_controller_answers_and_tells_its_metrics(installed: Namespace) -> None:
    with installed.forwarded(f"deployment/{NAME}", 8080) as (address,):
        assert urllib.request.urlopen(f"http://{address}/healthz", timeout=10).status == 200
        assert b"labelwright_controller_" in urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read()


@pytest.mark.parametrize(
    ("verb", "resource", "elsewhere", "allowed"),
    [
        ("update", "textclassifiers.labelwright.dev/status", False, "yes"),
        ("create", "jobs.batch", False, "yes"),
        ("get", "secrets", False, "no"),
        ("list", "textclassifiers.labelwright.dev", True, "no"),
        ("delete", "deployments.apps", False, "no"),
        ("create", "pods", False, "no"),
        ("list", "customresourcedefinitions.apiextensions.k8s.io", True, "no"),
    ],
)
def test_an_installed_controller_may_do_what_it_needs_and_no_more(
    installed: Namespace, verb: str, resource: str, elsewhere: bool, allowed: str
) -> None:
    account = f"system:serviceaccount:{installed.name}:{NAME}"
    place = "default" if elsewhere else installed.name
    resource, _, part = resource.partition("/")
    command = ["kubectl", "auth", "can-i", verb, resource, f"--as={account}", f"--namespace={place}"]
    if part:
        command.append(f"--subresource={part}")

    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == allowed


# Another kind in every respect, since kubectl looks for names in all groups; what else uses ours is left alone.
RENAMED = {"TextClassifier": "Trial", "textclassifier": "trial", "TrainingRun": "Course", "trainingrun": "course"} | {
    "- trun\n": "- crs\n",
    "- labelwright\n": "- trials\n",
}


def _renamed(text: str, short: str, group: str) -> str:
    names = {**RENAMED, "- tc\n": f"- {short}\n", "s.labelwright.dev": f"s.{group}", "group: labelwright.dev": f"group: {group}"}
    for ours, trial in names.items():
        text = text.replace(ours, trial)
    return text


def test_crds_come_with_a_release_change_with_it_and_stay_when_it_goes(alone: Namespace, tmp_path: Path) -> None:
    group, place = f"{alone.name}.example", f"--namespace={alone.name}"
    chart = shutil.copytree(CHART, tmp_path / "labelwright")
    checks = chart / "templates" / "checks.yaml"
    crds = {path: path.read_text() for path in (*(chart / "templates" / "crds").iterdir(), checks)}
    try:
        for command, short in (("install", "before"), ("upgrade", "after")):
            for path, text in crds.items():
                path.write_text(_renamed(text, short, group))
            done = helm(command, "crds", str(chart), place, values={"controller.replicas": 0})
            assert done.returncode == 0, done.stderr
            assert (alone.get("crd", f"trials.{group}") or {})["spec"]["names"]["shortNames"] == [short]
        helm("uninstall", "crds", place, "--wait")
        assert alone.get("crd", f"trials.{group}") is not None
    finally:
        alone.kubectl("delete", "crd", f"trials.{group}", f"courses.{group}", "--ignore-not-found")
