"""Values: each is described, in the schema, used by a template, and seen in what is rendered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.documentation import Undescribed, described, files, schema
from tests.chart import test_controller, test_gateway, test_grafana, test_prometheus
from tests.support.chart import CHART, Rendered, rendered, template
from tests.support.prometheus import rules

VALUES = described((CHART / "values.yaml").read_text())
LEAVES = [each.name for each in VALUES if not each.is_group]
REMOVED: dict[str, str] = yaml.safe_load((CHART / "removed-values.yaml").read_text())
PLACEMENT = ("nodeSelector", "tolerations", "affinity", "priorityClassName")
# Values of which a helper gets the group.
PASSED = re.compile(r'"labelwright\.placement" \.Values\.([\w.]+)')
USED = re.compile(r"\.Values\.([A-Za-z][\w.]*)")


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_what_make_chart_docs_writes_is_up_to_date(path: Path) -> None:
    assert path.read_text() == files()[path], "values.yaml has changed: make chart-docs"


def test_a_value_without_a_comment_is_refused_by_its_name() -> None:
    with pytest.raises(Undescribed, match=r"a\.b: a comment is missing"):
        described("# A.\na:\n  b: 1\n")


def test_a_rule_that_is_no_json_is_refused_by_its_value() -> None:
    with pytest.raises(Undescribed, match="a: # @schema"):
        described("# A.\n# @schema {no}\na: 1\n")


def test_the_schema_follows_from_the_default_and_the_rules() -> None:
    text = '# Group.\na:\n  # Text.\n  # @schema {"minLength": 1}\n  b: x\n  # Any.\n  c: {}\n'

    assert schema(described(text), {})["properties"]["a"] == {
        "description": "Group.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "b": {"description": "Text.", "type": "string", "minLength": 1},
            "c": {"description": "Any.", "type": "object"},
        },
    }


def used() -> set[str]:
    """The values that templates name, without the final dot of a sentence."""
    found = set()
    for path in (CHART / "templates").rglob("*"):
        if path.is_file():
            text = path.read_text()
            for group in PASSED.findall(text):
                found |= {f"{group}.{each}" for each in PLACEMENT}
            found |= {each.rstrip(".") for each in USED.findall(PASSED.sub("", text))}
    return found


def test_every_value_that_a_template_uses_is_declared() -> None:
    declared = {each.name for each in VALUES}

    assert sorted(each for each in used() if each not in declared) == []


def test_every_declared_value_is_used_by_a_template() -> None:
    names = used()
    # `(index .Values.storage .Values.storage.kind).image`, `.Values.storage` alone: the group, not what it holds.
    names -= {"storage", "setup", "controller", "mlflow"}

    assert sorted(each for each in LEAVES if not any(each == name or each.startswith(f"{name}.") for name in names)) == []


@pytest.mark.parametrize("name", REMOVED)
def test_a_value_that_was_removed_fails_with_what_replaces_it(name: str) -> None:
    done = template(**{name: True})

    assert done.returncode != 0
    assert f"{name} was removed: {REMOVED[name]}" in done.stderr


@pytest.mark.parametrize("name", sorted({each.name for each in VALUES if each.is_group}))
def test_a_typo_in_any_group_fails_with_its_name(name: str) -> None:
    done = template(**{f"{name}.colour": "blue"})

    assert done.returncode != 0
    assert "colour" in done.stderr


DIGEST = f"sha256:{'a' * 64}"
STORAGE, JOBS = "lw-labelwright-storage", ("credentials", "provisioning", "dataset", "classifier", "ready", "question")
EXTERNAL = {"storage.kind": "external", "demo.enabled": True, "storage.external.secretNames.trainer": "t"}
DEMO = {"demo.enabled": True}
MLFLOW = {"mlflow.kind": "managed"}
TRACKING = "lw-labelwright-mlflow"


def policy(them: Rendered, name: str) -> str:
    return json.dumps(them.one("NetworkPolicy", f"lw-labelwright-{name}")["spec"])


def classifier(them: Rendered) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(them.one("ConfigMap", "lw-labelwright-demo")["data"]["classifier.json"])
    return found["spec"]


def storage_pod(them: Rendered) -> dict[str, Any]:
    found: dict[str, Any] = them.one("StatefulSet", STORAGE)["spec"]["template"]
    return found


def mlflow_pod(them: Rendered) -> dict[str, Any]:
    return dict(them.one("StatefulSet", TRACKING)["spec"]["template"]["spec"])


def plan(them: Rendered, container: str) -> dict[str, Any]:
    (found,) = (each for each in them.container(container)["args"] if each.startswith("--plan="))
    return dict(json.loads(found.removeprefix("--plan=")))


def of_every_job(value: Callable[[dict[str, Any]], Any], them: Rendered) -> list[Any]:
    """A part of each Pod of `setup`."""
    return [value(pod["spec"]) for name, pod in them.pods() if any(it["name"] in JOBS for it in pod["spec"]["containers"])]


def everywhere(part: str, wanted: Any) -> Callable[[Rendered], bool]:
    return lambda them: of_every_job(lambda spec: spec.get(part), them) == [wanted] * 5


def image(container: str, wanted: str, **more: Any) -> Callable[[Rendered], bool]:
    return lambda them: them.container(container)["image"] == wanted


SILO = "pgsty/silo:RELEASE.2026-09-16T00-00-00Z"
SILO_DIGEST = "@sha256:635197cb9f36d01bee221d34d1c7d7960f6a95c48b0b6c01d99cd13bdae51a46"
WEED_DIGEST = "@sha256:4e61d15fd35994cb1e43e1e553dff106794841fd9a99ade2fc8c8bfce4d7872d"
WEED = {"storage.kind": "seaweedfs"}
# The value, the other values that it needs, and where it is seen. Values of the controller are in tests/chart/test_controller.py.
SEEN: dict[str, tuple[Any, dict[str, Any], Callable[[Rendered], Any]]] = {
    "crds.enabled": (False, {}, lambda them: not them.all("CustomResourceDefinition")),
    "crds.keep": (
        False,
        {},
        lambda them: all("annotations" not in each["metadata"] for each in them.all("CustomResourceDefinition")),
    ),
    "images.registry": (
        "mirror.example/x/",
        DEMO,
        lambda them: all(each["image"].startswith("mirror.example/x/") for _, each in them.containers()),
    ),
    "images.controller.registry": ("r.example", {}, image("controller", "r.example/labelwright/controller:0.1.0")),
    "images.controller.digest": (DIGEST, {}, image("controller", f"labelwright/controller:0.1.0@{DIGEST}")),
    "images.trainer.registry": ("r.example", DEMO, image("dataset", "r.example/labelwright/trainer:0.1.0")),
    "images.trainer.digest": (DIGEST, DEMO, image("dataset", f"labelwright/trainer:0.1.0@{DIGEST}")),
    "images.predictor.registry": ("r.example", {}, image("provisioning", "r.example/labelwright/predictor:0.1.0")),
    "images.predictor.digest": (DIGEST, {}, image("provisioning", f"labelwright/predictor:0.1.0@{DIGEST}")),
    "storage.kind": ("external", {}, lambda them: not them.all("StatefulSet", "Job") and STORAGE not in them.text),
    "storage.minio.image.registry": ("r.example", {}, image("storage", f"r.example/{SILO}{SILO_DIGEST}")),
    "storage.minio.image.repository": ("a/b", {}, image("storage", f"docker.io/a/b:{SILO.partition(':')[2]}{SILO_DIGEST}")),
    "storage.minio.image.tag": ("1", {}, image("storage", f"docker.io/pgsty/silo:1{SILO_DIGEST}")),
    "storage.minio.image.digest": ("", {}, image("storage", f"docker.io/{SILO}")),
    "storage.seaweedfs.image.registry": (
        "r.example", WEED, image("storage", f"r.example/chrislusf/seaweedfs:4.48{WEED_DIGEST}")),
    "storage.seaweedfs.image.repository": ("a/b", WEED, image("storage", f"docker.io/a/b:4.48{WEED_DIGEST}")),
    "storage.seaweedfs.image.tag": ("1", WEED, image("storage", f"docker.io/chrislusf/seaweedfs:1{WEED_DIGEST}")),
    "storage.seaweedfs.image.digest": ("", WEED, image("storage", "docker.io/chrislusf/seaweedfs:4.48")),
    "storage.external.endpoint": (
        "http://s3.example:8333", EXTERNAL, lambda them: '"port": 8333' in policy(them, "trainer")),
    "storage.external.secretNames.trainer": (
        "writers", EXTERNAL, lambda them: classifier(them)["storage"]["secretName"] == "writers"),
    "storage.external.secretNames.predictor": (
        "readers", EXTERNAL, lambda them: classifier(them)["serving"]["secretName"] == "readers"),
    "storage.external.secretNames.uploader": (
        "up", EXTERNAL, lambda them: them.container("dataset")["envFrom"] == [{"secretRef": {"name": "up"}}]),
    "storage.region": (
        "eu-central-1",
        {},
        lambda them: {each["settings"]["AWS_DEFAULT_REGION"] for each in plan(them, "credentials")["secrets"]}
        == {"eu-central-1"} == {each["value"] for each in them.container("storage")["env"] if each["name"] == "MINIO_REGION"},
    ),
    "storage.buckets.datasets": (
        "texts", DEMO, lambda them: classifier(them)["dataset"]["uri"] == "s3://texts/demo/docstrings.parquet"),
    "storage.buckets.models": ("versions", DEMO, lambda them: classifier(them)["storage"]["uri"] == "s3://versions"),
    "storage.buckets.feedback": ("said", {}, lambda them: "said" in plan(them, "provisioning")["buckets"]),
    "storage.persistence.size": (
        "1Ti", {},
        lambda them: them.one("PersistentVolumeClaim", STORAGE)["spec"]["resources"]["requests"]["storage"] == "1Ti"),
    "storage.persistence.storageClassName": (
        "fast", {}, lambda them: them.one("PersistentVolumeClaim", STORAGE)["spec"]["storageClassName"] == "fast"),
    "storage.persistence.existingClaim": (
        "mine",
        {},
        lambda them: STORAGE not in {each["metadata"]["name"] for each in them.all("PersistentVolumeClaim")}
        and storage_pod(them)["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "mine"},
    ),
    "storage.resources.requests": (
        {"cpu": "3"}, {}, lambda them: them.container("storage")["resources"]["requests"]["cpu"] == "3"),
    "storage.resources.limits": (
        {"cpu": "3"}, {}, lambda them: them.container("storage")["resources"]["limits"]["cpu"] == "3"),
    "storage.podAnnotations": ({"a": "b"}, {}, lambda them: storage_pod(them)["metadata"]["annotations"]["a"] == "b"),
    "storage.podLabels": ({"a": "b"}, {}, lambda them: storage_pod(them)["metadata"]["labels"]["a"] == "b"),
    "storage.nodeSelector": ({"a": "b"}, {}, lambda them: storage_pod(them)["spec"]["nodeSelector"] == {"a": "b"}),
    "storage.tolerations": (
        [{"operator": "Exists"}], {}, lambda them: storage_pod(them)["spec"]["tolerations"] == [{"operator": "Exists"}]),
    "storage.affinity": (
        {"podAffinity": {}}, {}, lambda them: storage_pod(them)["spec"]["affinity"] == {"podAffinity": {}}),
    "storage.priorityClassName": ("high", {}, lambda them: storage_pod(them)["spec"]["priorityClassName"] == "high"),
    "storage.external.secretNames.mlflow": (
        "tracking", {**EXTERNAL, **MLFLOW},
        lambda them: them.container("mlflow")["envFrom"] == [{"secretRef": {"name": "tracking"}}]),
    "storage.buckets.mlflow": (
        "files", MLFLOW, lambda them: "--artifacts-destination=s3://files" in them.container("mlflow")["args"]),
    "mlflow.kind": (
        "managed", {},
        lambda them: next(each for each in plan(them, "credentials")["secrets"] if each["name"] == "lw-labelwright-trainer")
        ["settings"]["MLFLOW_TRACKING_URI"] == "http://lw-labelwright-mlflow.home.svc:5000"),
    "mlflow.image.registry": ("r.example", MLFLOW, image("mlflow", "r.example/mlflow/mlflow:v3.17.0-full")),
    "mlflow.image.repository": ("a/b", MLFLOW, image("mlflow", "ghcr.io/a/b:v3.17.0-full")),
    "mlflow.image.tag": ("1", MLFLOW, image("mlflow", "ghcr.io/mlflow/mlflow:1")),
    "mlflow.image.digest": (DIGEST, MLFLOW, image("mlflow", f"ghcr.io/mlflow/mlflow:v3.17.0-full@{DIGEST}")),
    "mlflow.external.url": (
        "https://m.example:8443", {"mlflow.kind": "external"},
        lambda them: "https://m.example:8443" in json.dumps(plan(them, "credentials")) and "8443" in policy(them, "trainer")),
    "mlflow.persistence.size": (
        "1Ti", MLFLOW,
        lambda them: them.one("PersistentVolumeClaim", TRACKING)["spec"]["resources"]["requests"]["storage"] == "1Ti"),
    "mlflow.persistence.storageClassName": (
        "fast", MLFLOW, lambda them: them.one("PersistentVolumeClaim", TRACKING)["spec"]["storageClassName"] == "fast"),
    "mlflow.persistence.existingClaim": (
        "mine", MLFLOW,
        lambda them: mlflow_pod(them)["volumes"][0]["persistentVolumeClaim"] == {"claimName": "mine"}),
    "mlflow.resources.requests": (
        {"cpu": "3"}, MLFLOW, lambda them: them.container("mlflow")["resources"]["requests"]["cpu"] == "3"),
    "mlflow.resources.limits": (
        {"cpu": "3"}, MLFLOW, lambda them: them.container("mlflow")["resources"]["limits"]["cpu"] == "3"),
    "mlflow.nodeSelector": ({"a": "b"}, MLFLOW, lambda them: mlflow_pod(them)["nodeSelector"] == {"a": "b"}),
    "mlflow.tolerations": (
        [{"operator": "Exists"}], MLFLOW, lambda them: mlflow_pod(them)["tolerations"] == [{"operator": "Exists"}]),
    "mlflow.affinity": ({"podAffinity": {}}, MLFLOW, lambda them: mlflow_pod(them)["affinity"] == {"podAffinity": {}}),
    "mlflow.priorityClassName": ("high", MLFLOW, lambda them: mlflow_pod(them)["priorityClassName"] == "high"),
    "setup.resources.requests": (
        {"cpu": "3"}, DEMO, lambda them: {them.container(each)["resources"]["requests"]["cpu"] for each in JOBS[:5]} == {"3"}),
    "setup.resources.limits": (
        {"cpu": "3"}, DEMO, lambda them: {them.container(each)["resources"]["limits"]["cpu"] for each in JOBS[:5]} == {"3"}),
    "setup.nodeSelector": ({"a": "b"}, DEMO, everywhere("nodeSelector", {"a": "b"})),
    "setup.tolerations": ([{"operator": "Exists"}], DEMO, everywhere("tolerations", [{"operator": "Exists"}])),
    "setup.affinity": ({"podAffinity": {}}, DEMO, everywhere("affinity", {"podAffinity": {}})),
    "setup.priorityClassName": ("high", DEMO, everywhere("priorityClassName", "high")),
    "demo.enabled": (True, {}, lambda them: them.one("Job", "lw-labelwright-demo-ready")),
    "demo.name": (
        "docs", DEMO,
        lambda them: "--name=docs" in them.one("Pod", "lw-labelwright-question")["spec"]["containers"][0]["args"]),
    "demo.minimum": (0.7, DEMO, lambda them: classifier(them)["gate"] == {"minimum": 0.7}),
    "demo.timeoutSeconds": (
        60, DEMO,
        lambda them: "--seconds=60" in them.container("ready")["args"]),
    "demo.training.resources.requests": (
        {"cpu": "3"}, DEMO, lambda them: classifier(them)["training"]["resources"]["requests"]["cpu"] == "3"),
    "demo.training.resources.limits": (
        {"cpu": "3"}, DEMO, lambda them: classifier(them)["training"]["resources"]["limits"]["cpu"] == "3"),
    "demo.serving.resources.requests": (
        {"cpu": "3"}, DEMO, lambda them: classifier(them)["serving"]["resources"]["requests"]["cpu"] == "3"),
    "demo.serving.resources.limits": (
        {"cpu": "3"}, DEMO, lambda them: classifier(them)["serving"]["resources"]["limits"]["cpu"] == "3"),
    "tests.classifier": (
        "papers", {},
        lambda them: "--name=papers" in them.one("Pod", "lw-labelwright-question")["spec"]["containers"][0]["args"]),
    "tests.text": (
        "a $(B)", {"tests.classifier": "papers"},
        lambda them: "--text=a $$(B)" in them.one("Pod", "lw-labelwright-question")["spec"]["containers"][0]["args"]),
    "monitoring.excludeRules": (
        ["LabelwrightDrift"], {}, lambda them: "LabelwrightDrift" not in {each["alert"] for each in rules(them)}),
    "monitoring.runbookUrl": (
        "https://r.example/", {},
        lambda them: all(each["annotations"]["runbook_url"] == f"https://r.example/{each['alert']}.md" for each in rules(them))),
    "networkPolicy.enabled": (False, {}, lambda them: not them.all("NetworkPolicy")),
    "networkPolicy.apiServer.cidrs": (["10.0.0.1/32"], {}, lambda them: '"10.0.0.1/32"' in policy(them, "controller")),
    "networkPolicy.apiServer.ports": ([7443], {}, lambda them: "7443" in policy(them, "credentials")),
    "networkPolicy.dnsPorts": ([1053], {}, lambda them: all("1053" in policy(them, each) for each in ("trainer", "controller"))),
    "networkPolicy.clients": (
        [{"podSelector": {"matchLabels": {"a": "client"}}}], {},
        lambda them: '"client"' in policy(them, "predictor") and '"client"' in policy(them, "grafana")),
    "networkPolicy.scrapers": (
        [{"podSelector": {"matchLabels": {"a": "scraper"}}}], {},
        lambda them: all('"scraper"' in policy(them, each) for each in ("controller", "storage", "trainer"))),
    "networkPolicy.hubs": (True, {}, lambda them: '"0.0.0.0/0"' in policy(them, "trainer")),
    "networkPolicy.trainerEgress": ([{"ports": [{"port": 5000}]}], {}, lambda them: "5000" in policy(them, "trainer")),
    "networkPolicy.predictorEgress": ([{"ports": [{"port": 5000}]}], {}, lambda them: "5000" in policy(them, "predictor")),
}  # fmt: skip
# Seen only where a cluster is asked: tests/cluster/test_chart.py.
ASKED = {"kserve.required"}


@pytest.mark.parametrize("name", SEEN)
def test_a_value_is_seen_in_what_is_rendered(name: str) -> None:
    value, others, seen = SEEN[name]

    assert seen(rendered(**{**others, name: value}))


def test_every_value_is_tried_and_every_tried_value_is_declared() -> None:
    tried = [*SEEN, *ASKED, *test_controller.SEEN, *test_gateway.SEEN, *test_grafana.SEEN, *test_prometheus.SEEN]

    assert sorted(tried) == sorted(LEAVES)
