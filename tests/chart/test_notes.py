"""The notes that `helm install` prints: they use the release's own names, and say what to do next."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest

from k8s.controller.api.v1alpha1.shared_sections import StorageSpec
from k8s.controller.objects.names import FINALIZER
from tests.support.chart import CASES, CHART, HOME, Rendered, rendered

DOCS = Path(__file__).parents[2] / "docs"
DELETION_POLICY = "Delete"
# Helm prints the notes only when it installs. A ConfigMap with the same text can be rendered.
AS_OBJECT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data:
  notes: {{ include "notes" . | toJson }}
{{- define "notes" }}
"""


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = shutil.copytree(CHART, tmp_path_factory.mktemp("chart") / "labelwright")
    notes = (found / "templates" / "NOTES.txt").read_text()
    (found / "templates" / "notes.yaml").write_text(f"{AS_OBJECT}{notes}{{{{- end }}}}\n")
    return found


def notes(chart: Path, *arguments: str, **values: Any) -> tuple[str, Rendered]:
    """The notes, and what they are about."""
    them = rendered(*arguments, chart=chart, **values)
    return str(them.one("ConfigMap", "notes")["data"]["notes"]), them


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.removesuffix("-values"))
def test_they_name_every_image_and_what_stays_when_the_release_goes(path: Path, chart: Path) -> None:
    text, them = notes(chart, f"--values={path}")

    assert {each["image"] for _, each in them.containers()} <= set(re.findall(r"^  (\S+)$", text, re.MULTILINE))
    kept = {each["metadata"]["name"] for each in them.all("PersistentVolumeClaim")}
    commands = re.findall(rf"kubectl --namespace {HOME} delete pvc (.+)", text)
    assert kept == {name for each in commands for name in each.split()}


def test_every_object_that_they_name_exists(chart: Path) -> None:
    text, them = notes(chart, **{"demo.enabled": True, "mlflow.kind": "managed", "gateway.enabled": True})
    services = {each["metadata"]["name"] for each in them.all("Service")} | {"docstrings-predictor"}

    assert set(re.findall(r"service/(\S+)", text)) <= services
    (plan,) = (each for each in them.container("credentials")["args"] if each.startswith("--plan="))
    secrets = {each["name"] for each in json.loads(plan.removeprefix("--plan="))["secrets"]}
    (command,) = re.findall("delete secrets (.+)", text)
    assert set(command.split()) == secrets
    assert set(re.findall(r"get secret (\S+)", text)) <= secrets


def test_with_the_gateway_they_have_a_submission_with_its_token(chart: Path) -> None:
    text, _ = notes(chart, **{"gateway.enabled": True, "gateway.classifiers": [{"name": "papers"}], "tests.text": "it's $(x)"})

    (script,) = re.findall(r"  (TOKEN=.*\n  curl .*)$", text, re.MULTILINE)
    programs = "kubectl() { echo token-of-the-secret; }; curl() { printf '%s\\n' \"$@\"; }\n"
    said = subprocess.run(["sh", "-c", programs + script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[1] == "localhost:8000/api/predict/?wait=20"
    assert "Authorization: Bearer token-of-the-secret" in said
    assert json.loads(said[-1]) == {"article": "it's $(x)"}


def test_with_the_demo_they_end_with_a_request_to_its_classifier(chart: Path) -> None:
    text, _ = notes(chart, **{"demo.enabled": True, "demo.name": "docs", "tests.text": 'a "text" of it\'s'})

    forward, request = text.strip().splitlines()[-2:]
    assert forward.strip() == f"kubectl --namespace {HOME} port-forward service/docs-predictor 8080:80 >/dev/null & sleep 3"
    (body,) = re.findall("-d '(.+)'$", request)
    assert json.loads(body.replace("'\\''", "'"))["inputs"][0]["data"] == ['a "text" of it\'s']


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.removesuffix("-values"))
def test_they_say_which_classifiers_to_delete_before_the_controller_goes(path: Path, chart: Path) -> None:
    text, _ = notes(chart, f"--values={path}")

    (warning,) = (each for each in text.split("\n\n") if "Before you run `helm uninstall`" in each)
    assert DELETION_POLICY in get_args(StorageSpec.model_fields["deletion_policy"].annotation)
    assert all(word in warning for word in (f"storage.deletionPolicy {DELETION_POLICY}", FINALIZER, "Terminating"))
    (command,) = re.findall("kubectl get textclassifiers (.+)", warning)
    assert command in (DOCS / "controller.md").read_text().replace(" -o ", " --output=")


def test_the_page_that_they_name_removes_the_finalizer_of_a_classifier_without_a_controller() -> None:
    (section,) = re.findall(r"### Uninstall\n(.+?)\n## ", (DOCS / "controller.md").read_text(), re.DOTALL)

    assert FINALIZER in section
    (patch,) = re.findall("--patch '(.+)'", section)
    assert json.loads(patch) == {"metadata": {"finalizers": None}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"prometheus.kind": "none", "grafana.kind": "none"}, "No Prometheus is configured", id="no-prometheus"),
        pytest.param({"crds.enabled": False}, "This release does not install the CRDs", id="no-crds"),
        pytest.param({"storage.kind": "external"}, "create secret generic object-storage", id="external-storage"),
        pytest.param({"controller.watch.allNamespaces": True}, "of every namespace", id="all-namespaces"),
        pytest.param(
            {"prometheus.kind": "external", "prometheus.url": "http://p"}, "WARNING: the NetworkPolicies let no", id="no-scraper"
        ),
    ],
)
def test_they_say_what_is_missing(values: dict[str, Any], said: str, chart: Path) -> None:
    assert said in notes(chart, **values)[0]
    assert said not in notes(chart)[0]
