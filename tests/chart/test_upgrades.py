"""An upgrade, and the rollback that undoes it.

No field is changed that the API server refuses to change, and none that another client writes.
"""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import CASES, CHART, Document, Rendered, case, helm, rendered

cases = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.removesuffix("-values"))

# Fields that can be changed after an object was created, where not all can.
MUTABLE: dict[str, set[str]] = {
    "Deployment": {
        "minReadySeconds", "paused", "progressDeadlineSeconds", "replicas", "revisionHistoryLimit", "strategy", "template",
    },
    "StatefulSet": {
        "minReadySeconds", "ordinals", "persistentVolumeClaimRetentionPolicy", "replicas", "revisionHistoryLimit", "template",
        "updateStrategy",
    },
    "Job": {"activeDeadlineSeconds", "backoffLimit", "parallelism", "suspend", "ttlSecondsAfterFinished"},
    "PersistentVolumeClaim": {"resources"},  # a volume may grow
    "Pod": set(),
}  # fmt: skip
# An upgrade that changes every component: images, resources, where it runs.
ALL_CHANGED: dict[str, Any] = {
    "images.registry": "registry.example.org",
    "images.pullPolicy": "Always",
    "images.pullSecrets": [{"name": "pull"}],
    "setup.resources": {"requests": {"cpu": "77m"}},
    "storage.resources": {"requests": {"cpu": "77m"}},
    "mlflow.resources": {"requests": {"cpu": "77m"}},
    "prometheus.resources": {"requests": {"cpu": "77m"}},
    "grafana.resources": {"requests": {"cpu": "77m"}},
    "controller.resources": {"requests": {"cpu": "77m"}},
    "controller.replicas": 3,
    "storage.persistence.size": "77Gi",
    "demo.training.resources": {"requests": {"cpu": "77m"}},
    "storage.buckets.feedback": "feedback-of-people",
    "tests.text": "another text",
}


@pytest.fixture(scope="module")
def next_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as the next version, with its images of that version."""
    folder = tmp_path_factory.mktemp("next")
    command = [helm(), "package", str(CHART), f"--destination={folder}", "--version=99.0.0", "--app-version=99.0.0"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "labelwright-99.0.0.tgz"


@functools.cache
def upgraded(path: Path, chart: Path) -> Rendered:
    return rendered(f"--values={path}", chart=chart, **ALL_CHANGED)


@cases
def test_no_field_changes_that_the_api_server_refuses_to_change(path: Path, next_chart: Path) -> None:
    """A Job cannot get another Pod template, so it has another name when its own changes."""
    before, after = by_name(case(path)), by_name(upgraded(path, next_chart))

    compared = before.keys() & after.keys()
    assert {kind for kind, *_ in compared} >= {"Deployment", "Service", "RoleBinding"}
    for key in compared:
        assert immutable(before[key]) == immutable(after[key]), key


@cases
def test_a_job_has_another_name_exactly_if_its_spec_has_changed(path: Path, next_chart: Path) -> None:
    jobs = [each for them in (case(path), upgraded(path, next_chart)) for each in them.all("Job")]
    specs = {each["metadata"]["name"]: json.dumps(each["spec"], sort_keys=True) for each in jobs if not is_hook(each)}

    assert len(specs) == len(set(specs.values()))
    same = rendered(f"--values={path}", "--set=controller.threads=3")
    assert {each["metadata"]["name"] for each in same.all("Job")} == {each["metadata"]["name"] for each in case(path).all("Job")}


@cases
def test_a_hook_that_cannot_be_changed_is_deleted_before_it_is_created_again(path: Path) -> None:
    for each in case(path).documents:
        if is_hook(each) and each["kind"] in ("Job", "Pod"):
            assert "before-hook-creation" in each["metadata"]["annotations"]["helm.sh/hook-delete-policy"]


@cases
def test_a_stateful_set_replaces_a_pod_that_never_gets_ready(path: Path) -> None:
    """Otherwise a rollback from an image that cannot be pulled would wait for that Pod for ever."""
    for each in case(path).all("StatefulSet"):
        assert each["spec"]["podManagementPolicy"] == "Parallel", each["metadata"]["name"]


@cases
def test_the_release_owns_no_field_that_another_writes(path: Path) -> None:
    """Helm 4 applies on the server's side, and fails at a field that somebody else owns."""
    documents = case(path).documents
    scaled = [each["spec"]["scaleTargetRef"] for each in documents if each["kind"] == "HorizontalPodAutoscaler"]
    for target in scaled:
        assert "replicas" not in case(path).one(target["kind"], target["name"])["spec"]

    rendered_here = {each["metadata"]["name"] for each in documents if each["kind"] == "Secret"}
    made_by_jobs = {
        each["name"] for plan in plans(case(path)) for each in (*plan.get("secrets", ()), plan.get("identities") or {}) if each
    }
    assert not rendered_here & made_by_jobs
    assert "TextClassifier" not in {each["kind"] for each in documents}  # the demo's is applied by its Job
    assert not [each["metadata"]["name"] for each in documents if "status" in each]


def by_name(them: Rendered) -> dict[tuple[str, str, str], Document]:
    """The objects that an upgrade changes in place. Hooks are deleted and created again."""
    return {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in them.documents
        if not is_hook(each)
    }


def immutable(document: Document) -> Document:
    """The fields of an object that stay as they were created."""
    kind, spec = document["kind"], document.get("spec", {})
    if kind in MUTABLE:
        return {name: value for name, value in spec.items() if name not in MUTABLE[kind]}
    if kind == "Service":
        return {name: spec.get(name) for name in ("clusterIP", "type")}
    if kind == "CustomResourceDefinition":
        return {name: spec[name] for name in ("group", "scope")}
    return {name: document.get(name) for name in ("type", "immutable", "roleRef")}


def plans(them: Rendered) -> list[Document]:
    words = [word for _, each in them.containers() for word in each.get("args", ())]
    return [json.loads(word.removeprefix("--plan=")) for word in words if word.startswith("--plan=")]


def is_hook(document: Document) -> bool:
    return "helm.sh/hook" in document["metadata"].get("annotations", {})
