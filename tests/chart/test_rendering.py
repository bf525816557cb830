"""Every set of values in ci/: what is rendered is secure, names no secret, and is the same each time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.support.chart import CASES, case, rendered, template
from tests.support.prometheus import promtool, rules

pytestmark = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.removesuffix("-values"))
LONGEST_NAMES = {"Job": 63, "Service": 63, "StatefulSet": 52, "Pod": 63, "Deployment": 63}


def test_it_renders_the_same_each_time(path: Path) -> None:
    assert rendered(f"--values={path}").text == case(path).text


def test_no_object_is_rendered_twice(path: Path) -> None:
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in case(path).documents]
    assert len(names) == len(set(names))


def test_every_pod_is_restricted(path: Path) -> None:
    for name, pod in case(path).pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
        for volume in spec.get("volumes", ()):
            assert set(volume) - {"name"} <= allowed, f"{name}: {volume}"


def test_every_container_is_restricted_and_has_a_read_only_root(path: Path) -> None:
    for name, container in case(path).containers():
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name


def test_every_container_has_requests_and_limits(path: Path) -> None:
    for name, container in case(path).containers():
        resources = container["resources"]
        assert {"cpu", "memory", "ephemeral-storage"} <= set(resources["requests"]), name
        assert {"memory", "ephemeral-storage"} <= set(resources["limits"]), name


def test_every_scratch_volume_has_a_limit(path: Path) -> None:
    for name, pod in case(path).pods():
        for volume in pod["spec"].get("volumes", ()):
            assert volume.get("emptyDir", {"sizeLimit": ""}).keys() == {"sizeLimit"}, name


def test_every_pod_has_an_account_of_its_own_and_a_token_only_if_it_asks_the_api_server(path: Path) -> None:
    accounts = {each["metadata"]["name"]: each for each in case(path).all("ServiceAccount")}
    bound = {subject["name"] for each in case(path).all("RoleBinding", "ClusterRoleBinding") for subject in each["subjects"]}
    for name, pod in case(path).pods():
        account, spec = pod["spec"]["serviceAccountName"], pod["spec"]
        assert account in accounts, name
        tokens = [volume for volume in spec.get("volumes", ()) if "projected" in volume]
        has_token = bool(tokens) or spec.get("automountServiceAccountToken", True)
        assert has_token == (account in bound), name


def test_every_role_names_its_verbs_and_no_wildcard(path: Path) -> None:
    for each in case(path).all("Role", "ClusterRole"):
        assert "*" not in json.dumps(each["rules"]), each["metadata"]["name"]


def test_secrets_are_read_by_name_and_never_listed(path: Path) -> None:
    for each in case(path).all("Role", "ClusterRole"):
        for rule in each["rules"]:
            if "secrets" in rule["resources"]:
                assert not {"list", "watch", "delete", "update"} & set(rule["verbs"])
                assert rule["verbs"] == ["create"] or rule["resourceNames"]


def test_every_image_has_a_tag_and_those_of_others_a_digest(path: Path) -> None:
    for name, container in case(path).containers():
        assert re.fullmatch(r"[\w./-]+(:\d+)?/[\w./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?", container["image"]), name
        # No digest of MLflow's image was known when its tag was chosen.
        unpinned = ("labelwright/", "mlflow/mlflow:")
        assert any(each in container["image"] for each in unpinned) or "@sha256:" in container["image"], name


def test_a_value_of_a_secret_is_in_no_other_object(path: Path) -> None:
    values = {value for each in case(path).all("Secret") for value in each["stringData"].values()} | {"user:password@"}
    others = [json.dumps(each) for each in case(path).documents if each["kind"] != "Secret"]
    assert [each for each in others if any(value in each for value in values)] == []


def test_no_argument_is_made_of_a_variable(path: Path) -> None:
    """Kubernetes would put a Secret's value into an argument that names its variable, as $(NAME)."""
    for name, container in case(path).containers():
        words = [*container.get("command", ()), *container.get("args", ())]
        assert not [each for each in words if re.search(r"(?<!\$)(\$\$)*\$\(", each)], name


def test_only_the_address_of_prometheus_is_a_secret_of_the_rendering(path: Path) -> None:
    secrets = case(path).all("Secret")
    assert [list(each["stringData"]) for each in secrets] in ([], [["url"]])


def test_every_variable_of_a_secret_is_read_from_the_secret(path: Path) -> None:
    for name, container in case(path).containers():
        for variable in container.get("env", ()):
            if re.search("PASSWORD|SECRET|TOKEN|KEY|ROOT_USER", variable["name"]):
                assert "secretKeyRef" in variable.get("valueFrom", {}), f"{name}: {variable['name']}"


def test_no_pod_has_variables_of_services(path: Path) -> None:
    assert [name for name, pod in case(path).pods() if pod["spec"]["enableServiceLinks"]] == []


def test_no_entry_of_a_list_is_there_twice(path: Path) -> None:
    """Helm 4 applies on the server's side, which refuses two entries with the same key."""
    keys = {"env": ("name",), "volumeMounts": ("mountPath",), "volumes": ("name",), "ports": ("containerPort", "protocol")}
    for name, pod in case(path).pods():
        for holder in (pod["spec"], *pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            for field, key in keys.items():
                found = [tuple(each.get(part) for part in key) for each in holder.get(field, ())]
                assert len(found) == len(set(found)), f"{name}: {field}"


def test_selectors_are_on_their_pods(path: Path) -> None:
    for each in case(path).all("Deployment", "StatefulSet"):
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert each["spec"]["selector"]["matchLabels"].items() <= labels.items(), each["metadata"]["name"]


def test_every_service_finds_pods_and_a_port_of_them(path: Path) -> None:
    pods = [pod for _, pod in case(path).pods()]
    for each in case(path).all("Service"):
        chosen = [pod for pod in pods if each["spec"]["selector"].items() <= pod["metadata"].get("labels", {}).items()]
        ports = {port["name"] for pod in chosen for it in pod["spec"]["containers"] for port in it.get("ports", ())}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports, each["metadata"]["name"]


def test_a_job_has_no_label_that_changes_with_the_version_of_the_chart(path: Path) -> None:
    for each in case(path).all("Job"):
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(each["spec"]["template"]["metadata"]["labels"])


def test_names_fit_for_the_longest_release(path: Path) -> None:
    for each in rendered(f"--values={path}", release="r" * 53).documents:
        name = each["metadata"]["name"]
        assert len(name) <= LONGEST_NAMES.get(each["kind"], 253), name
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name), name


def test_every_object_is_labelled_with_its_release(path: Path) -> None:
    for each in case(path).documents:
        if each["kind"] != "CustomResourceDefinition":
            assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "lw", each["metadata"]["name"]


def test_every_object_says_its_namespace(path: Path) -> None:
    of_the_cluster = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    for each in case(path).documents:
        assert ("namespace" in each["metadata"]) != (each["kind"] in of_the_cluster), each["metadata"]["name"]


def test_its_alerts_are_valid_where_a_prometheus_or_an_operator_is_to_read_them(path: Path, tmp_path: Path) -> None:
    kind = yaml.safe_load(path.read_text()).get("prometheus", {}).get("kind", "managed")
    found = bool(case(path).all("PrometheusRule")) or "alerts.yml" in case(path).text
    assert found == (kind in ("managed", "operator"))
    if not found:
        return
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules(case(path))}]}))
    done = promtool("check", "rules", tmp_path / "alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_valid_for_a_parent_chart(path: Path) -> None:
    done = template(f"--values={path}", **{"global": {"cattle": {"systemDefaultRegistry": ""}}, "enabled": True})
    assert done.returncode == 0, done.stderr
