"""The chart: what it renders is accepted as it stands, says what the values say, and gives no right that is not used."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from k8s.controller.__main__ import main as controller
from k8s.controller.builders.training_job import Images
from k8s.controller.objects.kinds import CRD, KINDS, LEASE, SERVICE_ACCOUNT
from tests.support.cluster.namespace import Document, Namespace

CHART = Path(__file__).parents[2] / "charts" / "labelwright"
VALUES: Document = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Document = json.loads((CHART / "values.schema.json").read_text())
RELEASE, HOME = "lw", "home"
NAME = "lw-labelwright-controller"


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    if not shutil.which("helm"):
        pytest.fail("helm is not on the PATH: these tests need it.", pytrace=False)


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    command = ["helm", *arguments, *(f"--set-json={path}={json.dumps(value)}" for path, value in (values or {}).items())]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def rendered(**values: Any) -> list[Document]:
    """Render the chart with values such as controller__replicas=2."""
    given = {path.replace("__", "."): value for path, value in values.items()}
    # The oldest Kubernetes that the chart is for.
    done = helm("template", RELEASE, str(CHART), f"--namespace={HOME}", "--kube-version=1.30.0", values=given)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


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
    """Return the controller's arguments, as the controller parses them."""
    return controller.make_context("controller", list(container(documents)["args"])).params


def prometheus(documents: list[Document]) -> Document:
    """Return the controller's variable with the address of Prometheus."""
    (variable,) = container(documents)["env"]
    assert variable["name"] == "LABELWRIGHT_CONTROLLER_PROMETHEUS_URL"  # as click reads --prometheus-url
    return dict(variable["valueFrom"]["secretKeyRef"])


def leaves(values: Document, schema: Document, path: str = "") -> Iterator[str]:
    """The path of each value that a user sets; what the schema says nothing about the inside of is one."""
    for name, value in values.items():
        of = schema["properties"][name]
        of = SCHEMA["definitions"][of["$ref"].rpartition("/")[2]] if "$ref" in of else of
        if "properties" in of and name != "resources":
            yield from leaves(value, of, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def test_the_linter_finds_nothing() -> None:
    done = helm("lint", "--strict", str(CHART))

    assert done.returncode == 0, done.stdout


def test_the_version_is_that_of_the_package() -> None:
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert f'\nversion = "{chart["appVersion"]}"\n' in project


def test_every_value_has_a_comment_and_a_place_in_the_schema() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    bare = {"repository", "tag"}  # explained at the image
    for path in leaves(VALUES, SCHEMA):
        name = path.rpartition(".")[2]
        places = [number for number, line in enumerate(lines) if re.match(rf"\s*{name}:", line)]
        assert places, path
        assert name in bare or name == "resources" or any("#" in lines[number - 1] for number in places), path


# One value, and where it is seen in what is rendered.
SEEN: dict[str, tuple[Any, Any]] = {
    "nameOverride": ("other", lambda them: one(them, "Deployment", "lw-other-controller")),
    "fullnameOverride": ("other", lambda them: one(them, "Deployment", "other-controller")),
    "crds.install": (False, lambda them: all(each["kind"] != "CustomResourceDefinition" for each in them)),
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
    "prometheus.url": (
        "http://me:secret@p:9090",
        lambda them: (
            one(them, "Secret", f"{NAME}-prometheus")["stringData"] == {"url": "http://me:secret@p:9090"}
            and prometheus(them) == {"name": f"{NAME}-prometheus", "key": "url"}
        ),
    ),
    "prometheus.secretName": ("theirs", lambda them: prometheus(them) == {"name": "theirs", "key": "url"}),
    "prometheus.secretKey": (None, None),  # not without the Secret: below
    "prometheus.gatewayJob": ("monitoring/gateway", lambda them: options(them)["prometheus_gateway_job"] == "monitoring/gateway"),
    "tenancy.secretNames": (["s", "team-*"], lambda them: options(them)["allowed_secrets"] == ("s", "team-*")),
    "tenancy.serviceAccountNames": ([], lambda them: options(them)["allowed_service_accounts"] == ()),
    "tenancy.placement": (False, lambda them: options(them)["placement"] is False),
    "resources": (
        {"trainings": {"limits": {"cpu": "4"}}, "jobs": {"limits": {"cpu": "2"}}},
        lambda them: (
            (options(them)["training_resources"].limits, options(them)["job_resources"].limits)
            == ({"cpu": "4", "memory": "8Gi"}, {"cpu": "2", "memory": "1Gi"})
        ),
    ),
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
    "controller.resources": (
        {"limits": {"memory": "1Gi"}},
        lambda them: container(them)["resources"]["limits"] == {"memory": "1Gi"},
    ),
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


def test_every_value_is_tried() -> None:
    assert sorted(SEEN) == sorted(leaves(VALUES, SCHEMA))


@pytest.mark.parametrize("path", [path for path, (_, seen) in SEEN.items() if seen])
def test_a_value_is_seen_in_what_is_rendered(path: str) -> None:
    value, seen = SEEN[path]

    assert seen(rendered(**{path: value}))


def test_the_password_of_prometheus_is_only_in_a_secret() -> None:
    documents = rendered(**{"prometheus.url": "http://me:hunter2@p:9090"})

    assert [each["kind"] for each in documents if "hunter2" in json.dumps(each)] == ["Secret"]


def test_a_secret_of_somebody_else_holds_the_address_of_prometheus() -> None:
    documents = rendered(**{"prometheus.url": "http://p", "prometheus.secretName": "theirs", "prometheus.secretKey": "where"})

    assert prometheus(documents) == {"name": "theirs", "key": "where"}
    assert all(each["kind"] != "Secret" for each in documents)


def test_by_default_any_secret_and_node_may_be_used() -> None:
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

    assert all(each["kind"] != "ServiceAccount" for each in documents)
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
    done = helm("template", RELEASE, str(CHART), "--kube-version=1.30.0", values=values)

    assert done.returncode != 0
    assert blamed in done.stderr.replace(".", "/")


def test_an_older_kubernetes_is_refused() -> None:
    assert "kubeVersion" in helm("template", RELEASE, str(CHART), "--kube-version=1.29.9").stderr


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
    known = {(each.api_version.rpartition("/")[0], each.plural) for each in KINDS if each not in (CRD, LEASE, SERVICE_ACCOUNT)}

    assert granted == known
    assert "*" not in json.dumps(rules)


@pytest.mark.parametrize(
    "values",
    [{}, {"controller.watch.allNamespaces": True}, {"controller.resources": {}, "prometheus.url": "http://p"}],
    ids=["default", "all-namespaces", "bare"],
)
def test_the_api_server_accepts_what_is_rendered(values: Document, namespace: Namespace) -> None:
    documents = rendered(**values)
    for each in documents:
        if "namespace" in each["metadata"]:
            each["metadata"]["namespace"] = namespace.name

    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    namespace.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=listed)


def test_its_pod_is_admitted_where_pods_are_restricted(namespace: Namespace) -> None:
    template = pod(rendered(controller__serviceAccount__create=False, controller__serviceAccount__name="default"))
    document = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "controller"}}

    namespace.kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(document))


def test_every_label_of_the_selector_is_on_the_pod() -> None:
    deployment = one(rendered(controller__podLabels={"app.kubernetes.io/name": "other"}), "Deployment")

    assert deployment["spec"]["selector"]["matchLabels"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_every_argument_is_an_option_of_the_controller() -> None:
    known = {name for option in controller.params if isinstance(option, click.Option) for name in option.opts}

    assert {each.partition("=")[0] for each in container(rendered(**{"prometheus.url": "http://p"}))["args"]} <= known


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
    values = {"crds.install": False, "images.controller": {"repository": repository, "tag": tag}, "controller.replicas": 2}
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
    crds = {path: path.read_text() for path in (chart / "templates" / "crds").iterdir()}
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
