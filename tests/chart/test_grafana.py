"""Grafana in the chart: the managed one, and the ConfigMaps for the sidecar of another."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, Document, Rendered, rendered

NAME = "lw-labelwright-grafana"
DASHBOARDS = ("classifiers", "gateway", "platform", "serving", "training")
DIGEST = f"sha256:{'a' * 64}"
SIDECAR = {"grafana.kind": "sidecar"}
ADMIN = {"grafana.admin.secretName": "admin"}


def pod(them: Rendered) -> Document:
    found: Document = them.one("Deployment", NAME)["spec"]["template"]["spec"]
    return found


def settings(them: Rendered) -> dict[str, Any]:
    """The variables of the container: a text, or the Secret's key."""
    return {
        each["name"]: each.get("value", each.get("valueFrom", {}).get("secretKeyRef"))
        for each in them.container("grafana")["env"]
    }


def maps(them: Rendered) -> list[Document]:
    return [each for each in them.all("ConfigMap") if any(name.endswith(".json") for name in each["data"])]


# The value, the other values that it needs, and where it is seen.
SEEN: dict[str, tuple[Any, dict[str, Any], Callable[[Rendered], Any]]] = {
    "grafana.kind": ("none", {}, lambda it: not maps(it) and NAME not in it.text),
    "grafana.sidecar.labels": (
        {"mine": "yes"},
        {"grafana.kind": "sidecar"},
        lambda it: all(each["metadata"]["labels"]["mine"] == "yes" for each in maps(it)),
    ),
    "grafana.sidecar.annotations": (
        {"folder": "A"},
        {"grafana.kind": "sidecar"},
        lambda it: all(each["metadata"]["annotations"]["folder"] == "A" for each in maps(it)),
    ),
    "grafana.image.registry": ("r.io", {}, lambda it: it.container("grafana")["image"].startswith("r.io/grafana/")),
    "grafana.image.repository": ("a/b", {}, lambda it: it.container("grafana")["image"].startswith("docker.io/a/b:")),
    "grafana.image.tag": ("9", {}, lambda it: ":9@" in it.container("grafana")["image"]),
    "grafana.image.digest": (DIGEST, {}, lambda it: it.container("grafana")["image"].endswith(f"@{DIGEST}")),
    "grafana.admin.secretName": (
        "admin",
        {},
        lambda it: settings(it)["GF_SECURITY_ADMIN_PASSWORD"] == {"name": "admin", "key": "admin-password"},
    ),
    "grafana.admin.userKey": ("u", ADMIN, lambda it: settings(it)["GF_SECURITY_ADMIN_USER"] == {"name": "admin", "key": "u"}),
    "grafana.admin.passwordKey": (
        "p",
        ADMIN,
        lambda it: settings(it)["GF_SECURITY_ADMIN_PASSWORD"] == {"name": "admin", "key": "p"},
    ),
    "grafana.rootUrl": ("https://g.example", {}, lambda it: settings(it)["GF_SERVER_ROOT_URL"] == "https://g.example"),
    "grafana.resources.requests": ({"cpu": "1"}, {}, lambda it: it.container("grafana")["resources"]["requests"]["cpu"] == "1"),
    "grafana.resources.limits": ({"cpu": "1"}, {}, lambda it: it.container("grafana")["resources"]["limits"]["cpu"] == "1"),
    "grafana.nodeSelector": ({"a": "b"}, {}, lambda it: pod(it)["nodeSelector"] == {"a": "b"}),
    "grafana.tolerations": ([{"operator": "Exists"}], {}, lambda it: pod(it)["tolerations"] == [{"operator": "Exists"}]),
    "grafana.affinity": ({"podAffinity": {}}, {}, lambda it: pod(it)["affinity"] == {"podAffinity": {}}),
    "grafana.priorityClassName": ("high", {}, lambda it: pod(it)["priorityClassName"] == "high"),
}


@pytest.mark.parametrize("path", SEEN)
def test_a_value_is_seen_in_what_is_rendered(path: str) -> None:
    value, others, seen = SEEN[path]

    assert seen(rendered(**{**others, path: value}))


def test_there_is_no_user_and_so_no_default_password() -> None:
    found = settings(rendered())

    assert found["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert (found["GF_AUTH_ANONYMOUS_ENABLED"], found["GF_AUTH_ANONYMOUS_ORG_ROLE"]) == ("true", "Viewer")
    assert (found["GF_AUTH_BASIC_ENABLED"], found["GF_AUTH_DISABLE_LOGIN_FORM"]) == ("false", "true")
    assert not [name for name in found if "PASSWORD" in name]


def test_with_an_administrator_everyone_has_to_log_in() -> None:
    found = settings(rendered(**ADMIN))

    assert found["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert "GF_AUTH_DISABLE_LOGIN_FORM" not in found


@pytest.mark.parametrize("values", [{}, SIDECAR], ids=["managed", "sidecar"])
def test_the_dashboards_are_those_of_the_chart_in_a_config_map_each(values: Document) -> None:
    found = {each["metadata"]["name"]: each["data"] for each in maps(rendered(**values))}

    assert sorted(found) == [f"{NAME}-{each}" for each in DASHBOARDS]
    for each in DASHBOARDS:
        text = found[f"{NAME}-{each}"][f"{each}.json"]
        assert json.loads(text) == json.loads((CHART / "dashboards" / f"{each}.json").read_text())
        # kubectl apply keeps the object in an annotation, which has a limit.
        assert len(text) < 200_000


def test_every_folder_of_the_provider_is_a_mounted_config_map() -> None:
    them = rendered()
    files = {name: yaml.safe_load(text) for name, text in them.one("ConfigMap", f"{NAME}-provisioning")["data"].items()}
    (provider,), (source,) = files["providers.yaml"]["providers"], files["datasources.yaml"]["datasources"]
    mounts = {each["mountPath"]: each for each in them.container("grafana")["volumeMounts"]}
    volumes = {each["name"]: each for each in pod(them)["volumes"]}

    folders = [path for path in mounts if path.startswith(provider["options"]["path"])]
    assert [volumes[mounts[path]["name"]]["configMap"]["name"] for path in folders] == [f"{NAME}-{each}" for each in DASHBOARDS]
    assert {mounts[path].get("subPath") for path in mounts if path.startswith("/etc/grafana")} == set(files)
    home = settings(them)["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.rpartition("/")[0] in folders
    assert (provider["allowUiUpdates"], provider["disableDeletion"]) == (False, True)
    assert (source["type"], source["url"]) == ("prometheus", "$LABELWRIGHT_PROMETHEUS_URL")
    assert settings(them)["LABELWRIGHT_PROMETHEUS_URL"] == "http://lw-labelwright-prometheus.home:9090"


def test_an_external_address_comes_from_the_secret() -> None:
    them = rendered(**{"prometheus.kind": "external", "prometheus.url": "http://me:hunter2@p:9090"})

    assert settings(them)["LABELWRIGHT_PROMETHEUS_URL"] == {"name": "lw-labelwright-prometheus", "key": "url"}
    assert [each["kind"] for each in them.documents if "hunter2" in json.dumps(each)] == ["Secret"]


def test_what_is_for_a_sidecar_has_its_labels_and_no_pod() -> None:
    them = rendered(**SIDECAR)

    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in maps(them)} == {"1"}
    assert {each["metadata"]["annotations"]["grafana_folder"] for each in maps(them)} == {"Labelwright"}
    assert NAME not in {each["metadata"]["name"] for each in them.documents}
