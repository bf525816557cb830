"""Prometheus in the chart: the managed one, the objects for an operator, and the address for the controller."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.controller.runtime.scrape_targets import SCRAPED
from tests.support.chart import Document, Rendered, rendered, template
from tests.support.prometheus import configuration, promtool

NAME, CONTROLLER = "lw-labelwright-prometheus", "lw-labelwright-controller"
EXTERNAL = {"prometheus.kind": "external"}
OPERATOR = {"prometheus.kind": "operator", "grafana.kind": "none"}
DIGEST = f"sha256:{'a' * 64}"


def scraped(them: Rendered) -> dict[str, Document]:
    """The jobs of the managed Prometheus, by their names."""
    found = yaml.safe_load(configuration(them)["prometheus.yml"])
    return {each["job_name"]: each for each in found["scrape_configs"]}


def pod(them: Rendered) -> Document:
    found: Document = them.one("Deployment", NAME)["spec"]["template"]["spec"]
    return found


def address(them: Rendered) -> Document | None:
    """Source of the address of Prometheus in the controller's variable, or None."""
    found = [each for each in them.container("controller").get("env", ()) if each["name"].endswith("PROMETHEUS_URL")]
    return {name: value for name, value in found[0].items() if name != "name"} if found else None


def volume(them: Rendered) -> Document:
    (found,) = (each for each in pod(them)["volumes"] if each["name"] == "data")
    return {name: value for name, value in found.items() if name != "name"}


def monitors(them: Rendered) -> list[Document]:
    return them.all("PodMonitor")


# The value, the other values that it needs, and where it is seen.
SEEN: dict[str, tuple[Any, dict[str, Any], Callable[[Rendered], Any]]] = {
    "prometheus.kind": ("none", {"grafana.kind": "none"}, lambda it: NAME not in it.text and address(it) is None),
    "prometheus.url": (
        "http://me:secret@p:9090",
        EXTERNAL,
        lambda it: (
            it.one("Secret", NAME)["stringData"] == {"url": "http://me:secret@p:9090"}
            and address(it) == {"valueFrom": {"secretKeyRef": {"name": NAME, "key": "url"}}}
        ),
    ),
    "prometheus.secretName": (
        "theirs",
        EXTERNAL,
        lambda it: address(it) == {"valueFrom": {"secretKeyRef": {"name": "theirs", "key": "url"}}} and not it.all("Secret"),
    ),
    "prometheus.secretKey": (
        "where",
        {**EXTERNAL, "prometheus.secretName": "theirs"},
        lambda it: address(it) == {"valueFrom": {"secretKeyRef": {"name": "theirs", "key": "where"}}},
    ),
    "prometheus.scrapeInterval": (
        "1m",
        {},
        lambda it: "scrape_interval: 1m\n  evaluation_interval: 1m\n" in configuration(it)["prometheus.yml"],
    ),
    "prometheus.operator.labels": (
        {"release": "stack"},
        OPERATOR,
        lambda it: all(each["metadata"]["labels"]["release"] == "stack" for each in (*monitors(it), *it.all("PrometheusRule"))),
    ),
    "prometheus.image.registry": ("r.io", {}, lambda it: it.container("prometheus")["image"].startswith("r.io/prometheus/")),
    "prometheus.image.repository": ("a/b", {}, lambda it: it.container("prometheus")["image"].startswith("quay.io/a/b:")),
    "prometheus.image.tag": ("v9", {}, lambda it: ":v9@" in it.container("prometheus")["image"]),
    "prometheus.image.digest": (DIGEST, {}, lambda it: it.container("prometheus")["image"].endswith(f"@{DIGEST}")),
    "prometheus.alertmanagers": (
        ["a.b:9093"],
        {},
        lambda it: 'alertmanagers:\n    - static_configs: [{targets: ["a.b:9093"]}]' in configuration(it)["prometheus.yml"],
    ),
    "prometheus.retention.time": ("3d", {}, lambda it: "--storage.tsdb.retention.time=3d" in it.container("prometheus")["args"]),
    "prometheus.retention.size": (
        "1GB",
        {},
        lambda it: "--storage.tsdb.retention.size=1GB" in it.container("prometheus")["args"],
    ),
    "prometheus.persistence.enabled": (
        False,
        {},
        lambda it: volume(it) == {"emptyDir": {"sizeLimit": "8Gi"}} and not _claims(it),
    ),
    "prometheus.persistence.size": (
        "1Gi",
        {},
        lambda it: it.one("PersistentVolumeClaim", NAME)["spec"]["resources"]["requests"] == {"storage": "1Gi"},
    ),
    "prometheus.persistence.storageClassName": (
        "fast",
        {},
        lambda it: it.one("PersistentVolumeClaim", NAME)["spec"]["storageClassName"] == "fast",
    ),
    "prometheus.persistence.existingClaim": (
        "theirs",
        {},
        lambda it: volume(it) == {"persistentVolumeClaim": {"claimName": "theirs"}} and not _claims(it),
    ),
    "prometheus.resources.requests": (
        {"cpu": "1"},
        {},
        lambda it: it.container("prometheus")["resources"]["requests"]["cpu"] == "1",
    ),
    "prometheus.resources.limits": ({"cpu": "1"}, {}, lambda it: it.container("prometheus")["resources"]["limits"]["cpu"] == "1"),
    "prometheus.nodeSelector": ({"a": "b"}, {}, lambda it: pod(it)["nodeSelector"] == {"a": "b"}),
    "prometheus.tolerations": ([{"operator": "Exists"}], {}, lambda it: pod(it)["tolerations"] == [{"operator": "Exists"}]),
    "prometheus.affinity": ({"podAffinity": {}}, {}, lambda it: pod(it)["affinity"] == {"podAffinity": {}}),
    "prometheus.priorityClassName": ("high", {}, lambda it: pod(it)["priorityClassName"] == "high"),
}


def _claims(them: Rendered) -> list[str]:
    return [each["metadata"]["name"] for each in them.all("PersistentVolumeClaim") if each["metadata"]["name"] == NAME]


@pytest.mark.parametrize("path", SEEN)
def test_a_value_is_seen_in_what_is_rendered(path: str) -> None:
    value, others, seen = SEEN[path]

    assert seen(rendered(**{**others, path: value}))


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    for name, text in configuration(rendered(**{"prometheus.alertmanagers": ["a:9093"]})).items():
        (tmp_path / name).write_text(text)

    done = promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_controller_asks_the_managed_prometheus() -> None:
    assert address(rendered()) == {"value": f"http://{NAME}.home:9090"}
    assert rendered().one("Service", NAME)["spec"]["ports"] == [{"name": "http", "port": 9090, "targetPort": "http"}]


def test_the_password_of_prometheus_is_only_in_a_secret() -> None:
    them = rendered(**{**EXTERNAL, "prometheus.url": "http://me:hunter2@p:9090"})

    assert [each["kind"] for each in them.documents if "hunter2" in json.dumps(each)] == ["Secret"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"prometheus.url": "http://p"}, "prometheus.kind is managed, which ignores prometheus.url", id="two"),
        pytest.param(EXTERNAL, "prometheus.kind is external: set prometheus.url, or prometheus.secretName", id="none"),
        pytest.param({"prometheus.kind": "none"}, "grafana.kind is managed, but prometheus.kind is none", id="grafana"),
        pytest.param(
            {"prometheus.kind": "operator"}, "grafana.kind is managed: set prometheus.url", id="grafana-without-address"
        ),
        pytest.param({"prometheus.kind": "mine"}, "kind", id="unknown"),
        pytest.param({"prometheus.alertmanagers": ["http://a:9093"]}, "alertmanagers", id="url-of-an-alertmanager"),
    ],
)
def test_values_that_contradict_each_other_are_refused_by_their_names(values: Document, message: str) -> None:
    done = template(**values)

    assert done.returncode != 0
    assert message in done.stderr


def test_each_component_is_a_job_with_the_name_that_alerts_expect() -> None:
    jobs = scraped(rendered())

    assert set(jobs) == {
        f"labelwright-{each}" for each in ("controller", "grafana", "predictor", "prometheus", "storage", "trainer")
    }
    for name, job in jobs.items():
        # Only the release's own Pods may say of which namespace a series is.
        assert job["honor_labels"] is (name not in ("labelwright-predictor", "labelwright-trainer"))


def test_the_controller_tells_it_the_pods_of_classifiers() -> None:
    them = rendered(**{"controller.metricsPort": 9000})
    service = them.one("Service", CONTROLLER)

    for component in SCRAPED:
        (discovery,) = scraped(them)[f"labelwright-{component}"]["http_sd_configs"]
        assert discovery["url"] == f"http://{CONTROLLER}.home:9000/targets/{component}"
    assert service["spec"]["ports"] == [{"name": "metrics", "port": 9000, "targetPort": "metrics"}]
    labels = them.one("Deployment", CONTROLLER)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_every_replica_of_the_controller_is_scraped() -> None:
    them = rendered(**{"controller.metricsPort": 9000})

    (discovery,) = scraped(them)["labelwright-controller"]["dns_sd_configs"]
    assert (discovery["names"], discovery["type"], discovery["port"]) == ([f"{CONTROLLER}.home.svc"], "A", 9000)
    assert them.one("Service", CONTROLLER)["spec"]["clusterIP"] == "None"


def test_series_of_the_release_say_which_release_it_is() -> None:
    for name, job in scraped(rendered()).items():
        added = {each["target_label"]: each["replacement"] for each in job.get("relabel_configs", ())}
        assert added == (
            {} if name in ("labelwright-predictor", "labelwright-trainer") else {"namespace": "home", "release": "lw"}
        )


def test_it_has_no_access_to_the_api_server() -> None:
    them = rendered(**{"controller.watch.allNamespaces": True})

    assert pod(them)["automountServiceAccountToken"] is False
    subjects = [subject["name"] for each in them.all("RoleBinding", "ClusterRoleBinding") for subject in each["subjects"]]
    assert NAME not in subjects


@pytest.mark.parametrize("component", ["predictor", "trainer"])
def test_the_pods_of_classifiers_are_found_by_labels_and_ports_that_they_have(component: str) -> None:
    labels, ports = made_by_the_controller(component)

    (monitor,) = (each for each in monitors(rendered(**OPERATOR)) if each["metadata"]["name"].endswith(component))
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert ports[monitor["spec"]["podMetricsEndpoints"][0]["port"]] == SCRAPED[component]


def made_by_the_controller(component: str) -> tuple[dict[str, str], dict[str, int]]:
    """The labels of the Pods, and their ports by name."""
    from k8s.controller.api.v1alpha1 import TextClassifierSpec, TrainingRunSpec
    from k8s.controller.builders.serving import inference_service, serving_runtime
    from k8s.controller.builders.training_job import Images, training_job

    dataset, storage = {"uri": "s3://datasets/docs/"}, {"uri": "s3://models", "secretName": "storage"}
    metadata = {"name": "docs", "namespace": "papers", "uid": "u"}
    about: Document = {"apiVersion": "labelwright.dev/v1alpha1", "kind": "TextClassifier", "metadata": metadata}
    images = Images("trainer", "predictor")
    if component == "trainer":
        run = TrainingRunSpec.model_validate({"classifier": "docs", "dataset": dataset, "storage": storage})
        template = training_job(about, run, images)["spec"]["template"]
        containers, labels = template["spec"]["containers"], template["metadata"]["labels"]
    else:
        spec = TextClassifierSpec.model_validate({"dataset": dataset, "storage": storage})
        containers = serving_runtime(about, images)["spec"]["containers"]
        # KServe hands them to the Pods.
        labels = inference_service(about, spec, images, uri="s3://models/docs/docs-1/")["metadata"]["labels"]
    return labels, {port["name"]: port["containerPort"] for each in containers for port in each["ports"]}


def test_an_operator_gets_the_targets_of_the_managed_prometheus() -> None:
    them = rendered(**{**OPERATOR, "controller.watch.namespaces": ["a"]})
    jobs = scraped(rendered(**{"grafana.kind": "none", "controller.watch.namespaces": ["a"]}))

    assert NAME not in {each["metadata"]["name"] for each in them.documents}
    found = {}
    for each in monitors(them):
        (endpoint,) = each["spec"]["podMetricsEndpoints"]
        name = next(it["replacement"] for it in endpoint["relabelings"] if it["targetLabel"] == "job")
        assert each["spec"]["namespaceSelector"]["matchNames"] == (["home"] if endpoint["honorLabels"] else ["a"])
        found[name] = (endpoint["path"], endpoint["honorLabels"])
    assert found == {
        name: (job["metrics_path"], job["honor_labels"]) for name, job in jobs.items() if name != "labelwright-prometheus"
    }


def test_a_change_of_the_rules_restarts_prometheus() -> None:
    def annotations(**values: Any) -> Any:
        return rendered(**values).one("Deployment", NAME)["spec"]["template"]["metadata"]["annotations"]

    assert annotations() == annotations()
    assert annotations() != annotations(**{"monitoring.excludeRules": ["LabelwrightDrift"]})


def test_its_volume_is_kept_when_the_release_goes() -> None:
    assert rendered().one("PersistentVolumeClaim", NAME)["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
