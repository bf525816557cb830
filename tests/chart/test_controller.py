"""The controller's part of the chart: what is rendered says what the values say, and gives no right that is not used."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import click
import pytest
import yaml

from k8s.controller.__main__ import main as controller
from k8s.controller.builders.training_job import Images
from k8s.controller.objects.kinds import CONFIG_MAP, CRD, KINDS, LEASE, SECRET, SERVICE_ACCOUNT
from tests.support import chart
from tests.support.chart import CHART, HOME, Document

NAME = "lw-labelwright-controller"


def rendered(**values: Any) -> list[Document]:
    """Objects of a release with values such as controller__replicas=2."""
    return list(chart.rendered(**values).documents)


def one(documents: list[Document], kind: str, name: str = NAME, namespace: str | None = HOME) -> Document:
    (found,) = (
        each
        for each in documents
        if each["kind"] == kind and each["metadata"]["name"] == name and each["metadata"].get("namespace") == namespace
    )
    return found


def pod(documents: list[Document]) -> Document:
    template: Document = one(documents, "Deployment")["spec"]["template"]
    return template


def container(documents: list[Document]) -> Document:
    (found,) = pod(documents)["spec"]["containers"]
    return dict(found)


def options(documents: list[Document]) -> Document:
    """Options that the controller itself reads from its arguments."""
    return controller.make_context("controller", list(container(documents)["args"])).params


def test_the_linter_finds_nothing() -> None:
    done = subprocess.run([chart.helm(), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_the_version_is_that_of_the_package() -> None:
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert f'\nversion = "{chart["appVersion"]}"\n' in project


# One value, and where it is seen in what is rendered. tests/chart/test_values.py has the values of other components.
SEEN: dict[str, tuple[Any, Any]] = {
    "nameOverride": ("other", lambda them: one(them, "Deployment", "lw-other-controller")),
    "fullnameOverride": ("other", lambda them: one(them, "Deployment", "other-controller")),
    "images.controller.repository": ("example/c", lambda them: container(them)["image"] == "example/c:0.1.0"),
    "images.controller.tag": ("1.2", lambda them: container(them)["image"] == "labelwright/controller:1.2"),
    "images.trainer.repository": ("example/t", lambda them: options(them)["trainer_image"] == "example/t:0.1.0"),
    "images.trainer.tag": ("1.2", lambda them: options(them)["trainer_image"] == "labelwright/trainer:1.2"),
    "images.predictor.repository": ("example/p", lambda them: options(them)["predictor_image"] == "example/p:0.1.0"),
    "images.predictor.tag": ("sha256:00", lambda them: options(them)["predictor_image"] == "labelwright/predictor@sha256:00"),
    "images.pullPolicy": (
        "Never",
        lambda them: container(them)["imagePullPolicy"] == options(them)["pull_policy"] == "Never",
    ),
    "images.pullSecrets": ([{"name": "s"}], lambda them: pod(them)["spec"]["imagePullSecrets"] == [{"name": "s"}]),
    "prometheus.gatewayJob": ("monitoring/gateway", lambda them: options(them)["prometheus_gateway_job"] == "monitoring/gateway"),
    "tenancy.secretNames": (["s", "team-*"], lambda them: options(them)["allowed_secrets"] == ("s", "team-*")),
    "tenancy.serviceAccountNames": ([], lambda them: options(them)["allowed_service_accounts"] == ()),
    "tenancy.placement": (False, lambda them: options(them)["placement"] is False),
    "resources.trainings.requests": ({"cpu": "4"}, lambda them: options(them)["training_resources"].requests["cpu"] == "4"),
    "resources.trainings.limits": ({"cpu": "4"}, lambda them: options(them)["training_resources"].limits["cpu"] == "4"),
    "resources.jobs.requests": ({"cpu": "4"}, lambda them: options(them)["job_resources"].requests["cpu"] == "4"),
    "resources.jobs.limits": ({"cpu": "4"}, lambda them: options(them)["job_resources"].limits["cpu"] == "4"),
    "controller.replicas": (2, lambda them: one(them, "Deployment")["spec"]["replicas"] == 2),
    "controller.watch.namespaces": (["a", "b"], lambda them: options(them)["namespaces"] == ("a", "b")),
    "controller.watch.allNamespaces": (True, lambda them: options(them)["all_namespaces"]),
    "controller.serviceAccount.create": (None, None),  # not without a name: below
    "controller.serviceAccount.name": ("sa", lambda them: one(them, "ServiceAccount", "sa")),
    "controller.serviceAccount.annotations": (
        {"a": "b"},
        lambda them: one(them, "ServiceAccount")["metadata"]["annotations"] == {"a": "b"},
    ),
    "controller.logFormat": ("text", lambda them: options(them)["log_format"] == "text"),
    "controller.threads": (8, lambda them: options(them)["threads"] == 8),
    "controller.metricsPort": (
        9000,
        lambda them: options(them)["metrics_port"] == container(them)["ports"][0]["containerPort"] == 9000,
    ),
    "controller.resources.requests": ({"cpu": "4"}, lambda them: container(them)["resources"]["requests"]["cpu"] == "4"),
    "controller.resources.limits": ({"cpu": "4"}, lambda them: container(them)["resources"]["limits"]["cpu"] == "4"),
    "controller.podAnnotations": (
        {"a": "b", "prometheus.io/scrape": "false"},
        lambda them: pod(them)["metadata"]["annotations"].items() >= {"a": "b", "prometheus.io/scrape": "false"}.items(),
    ),
    "controller.podLabels": ({"a": "b"}, lambda them: pod(them)["metadata"]["labels"]["a"] == "b"),
    "controller.nodeSelector": ({"a": "b"}, lambda them: pod(them)["spec"]["nodeSelector"] == {"a": "b"}),
    "controller.tolerations": (
        [{"operator": "Exists"}],
        lambda them: pod(them)["spec"]["tolerations"] == [{"operator": "Exists"}],
    ),
    "controller.affinity": ({"podAffinity": {}}, lambda them: pod(them)["spec"]["affinity"] == {"podAffinity": {}}),
    "controller.priorityClassName": ("high", lambda them: pod(them)["spec"]["priorityClassName"] == "high"),
}


@pytest.mark.parametrize("path", [path for path, (_, seen) in SEEN.items() if seen])
def test_a_value_is_seen_in_what_is_rendered(path: str) -> None:
    value, seen = SEEN[path]

    assert seen(rendered(**{path: value}))


def test_unless_told_otherwise_any_secret_and_node_may_be_used() -> None:
    found = options(rendered())

    assert (found["allowed_secrets"], found["allowed_service_accounts"], found["placement"]) == (None, None, True)


def test_what_containers_ask_of_nodes_is_what_the_controller_asks_by_itself() -> None:
    found = options(rendered())

    assert found["training_resources"] == Images("", "").training_resources
    assert found["job_resources"] == Images("", "").job_resources


def test_no_right_of_the_release_is_one_of_the_clusters_own_roles() -> None:
    for values in ({}, {"controller.watch.allNamespaces": True}):
        documents = rendered(**values)
        assert all("aggregationRule" not in each for each in documents)
        assert not [each for each in documents if "aggregate-to-" in json.dumps(each["metadata"].get("labels", {}))]


def test_a_service_account_of_somebody_else_gets_the_roles() -> None:
    documents = rendered(controller__serviceAccount__create=False, controller__serviceAccount__name="theirs")

    assert not [each for each in documents if (each["kind"], each["metadata"]["name"]) == ("ServiceAccount", NAME)]
    assert one(documents, "RoleBinding")["subjects"] == [{"kind": "ServiceAccount", "name": "theirs", "namespace": HOME}]
    assert pod(documents)["spec"]["serviceAccountName"] == "theirs"


@pytest.mark.parametrize(
    ("values", "blamed"),
    [
        pytest.param({"colour": "blue"}, "colour", id="unknown"),
        pytest.param({"controller.colour": "blue"}, "colour", id="unknown-below"),
        pytest.param({"controller.replicas": "two"}, "controller/replicas", id="type"),
        pytest.param({"controller.metricsPort": 80}, "controller/metricsPort", id="privileged-port"),
        pytest.param({"controller.logFormat": "xml"}, "controller/logFormat", id="choice"),
        pytest.param({"prometheus.url": "prometheus:9090"}, "prometheus/url", id="address"),
        pytest.param({"controller.serviceAccount.create": False}, "controller/serviceAccount", id="nobodys-account"),
        pytest.param(
            {"controller.watch.namespaces": ["a"], "controller.watch.allNamespaces": True}, "controller/watch", id="some-and-all"
        ),
        pytest.param({"tenancy.secretNames": ["a*b"]}, "tenancy/secretNames", id="pattern"),
        pytest.param({"controller.watch.namespaces": ["Not_One"]}, "controller/watch/namespaces", id="namespace"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(values: Document, blamed: str) -> None:
    done = chart.template(**values)

    assert done.returncode != 0
    assert blamed in done.stderr.replace(".", "/")


def test_an_older_kubernetes_is_refused() -> None:
    assert "kubeVersion" in chart.template("--kube-version=1.29.9").stderr


def test_by_default_it_looks_after_its_own_namespace_and_has_no_right_elsewhere() -> None:
    documents = rendered()

    assert options(documents)["namespaces"] == (HOME,)
    assert {each["metadata"]["namespace"] for each in documents if each["kind"] in ("Role", "RoleBinding")} == {HOME}
    assert all(each["kind"] != "ClusterRole" for each in documents)


def test_it_has_a_role_in_each_namespace_that_it_looks_after() -> None:
    documents = rendered(controller__watch__namespaces=["a", "b"])

    for namespace in ("a", "b"):
        assert one(documents, "RoleBinding", namespace=namespace)["subjects"][0]["namespace"] == HOME
        assert one(documents, "Role", namespace=namespace)["rules"] == one(rendered(), "Role")["rules"]
    assert {
        each["metadata"]["namespace"] for each in documents if each["metadata"]["name"] == NAME and each["kind"] == "Role"
    } == {
        "a",
        "b",
    }


def test_for_all_namespaces_it_has_one_cluster_role_with_the_same_rules() -> None:
    documents = rendered(controller__watch__allNamespaces=True)

    role = one(documents, "ClusterRole", f"{NAME}-{HOME}", namespace=None)
    assert role["rules"] == one(rendered(), "Role")["rules"]
    assert one(documents, "ClusterRoleBinding", f"{NAME}-{HOME}", namespace=None)["roleRef"]["name"] == f"{NAME}-{HOME}"


def test_it_may_touch_the_kinds_that_it_knows_and_no_secret() -> None:
    rules = one(rendered(), "Role")["rules"]
    granted = {(group, name.partition("/")[0]) for rule in rules for group in rule["apiGroups"] for name in rule["resources"]}
    known = {
        (each.api_version.rpartition("/")[0], each.plural)
        for each in KINDS
        if each not in (CONFIG_MAP, CRD, LEASE, SECRET, SERVICE_ACCOUNT)
    }

    assert granted == known
    assert "*" not in json.dumps(rules)


def test_two_replicas_are_on_two_nodes_and_one_stays_when_a_node_is_drained() -> None:
    two, one_replica = rendered(controller__replicas=2), rendered()

    (spread,) = pod(two)["spec"]["topologySpreadConstraints"]
    budget = one(two, "PodDisruptionBudget")["spec"]
    labels = pod(two)["metadata"]["labels"].items()
    assert spread["labelSelector"]["matchLabels"].items() <= labels
    assert budget["selector"]["matchLabels"].items() <= labels
    assert all(each["kind"] != "PodDisruptionBudget" for each in one_replica)


def test_every_label_of_the_selector_is_on_the_pod() -> None:
    deployment = one(rendered(controller__podLabels={"app.kubernetes.io/name": "other"}), "Deployment")

    assert deployment["spec"]["selector"]["matchLabels"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_every_argument_is_an_option_of_the_controller() -> None:
    known = {name for option in controller.params if isinstance(option, click.Option) for name in option.opts}

    assert {each.partition("=")[0] for each in container(rendered())["args"]} <= known
