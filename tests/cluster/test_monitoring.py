"""The managed Prometheus and Grafana, as the chart installs them in a namespace that enforces restricted Pods."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.chart import CHART
from tests.support.cluster.namespace import Namespace, wait_until

RELEASE = "lw"
PROMETHEUS, GRAFANA = "lw-labelwright-prometheus", "lw-labelwright-grafana"


@pytest.fixture(scope="module")
def installed(release: dict[str, object]) -> Iterator[Namespace]:
    """A release with both, in a namespace of its own. `--wait` ends once they are ready."""
    if not shutil.which("helm"):
        pytest.fail("helm is not on the PATH: these tests need it.", pytrace=False)
    found = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    found.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found.name, "labels": labels}}])
    values = {
        **release,
        "prometheus.kind": "managed",
        "prometheus.scrapeInterval": "2s",
        "grafana.kind": "managed",
        "prometheus.image.digest": "",
        "grafana.image.digest": "",
    }
    given = [f"--set-json={path}={json.dumps(value)}" for path, value in values.items()]
    command = ["helm", "install", RELEASE, str(CHART), f"--namespace={found.name}", "--wait", "--timeout=180s", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    yield found
    subprocess.run(["helm", "uninstall", RELEASE, f"--namespace={found.name}", "--wait"], check=True, stdout=subprocess.DEVNULL)
    found.kubectl("delete", "namespace", found.name, "--wait=false")


def get(address: str, path: str, **fields: str) -> Any:
    with urllib.request.urlopen(f"http://{address}{path}?{urllib.parse.urlencode(fields)}", timeout=10) as answer:
        return json.load(answer)


def test_every_component_is_found_and_scraped(installed: Namespace) -> None:
    with installed.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):

        def up() -> dict[str, str]:
            found = get(address, "/api/v1/query", query="up")["data"]["result"]
            return {each["metric"]["job"]: each["value"][1] for each in found}

        wanted = {f"labelwright-{each}": "1" for each in ("controller", "grafana", "prometheus")}
        wait_until(lambda: up() == wanted, "every target is up", seconds=60, instead=lambda: str(up()))
        (found,) = get(address, "/api/v1/query", query="labelwright_controller_queue_keys")["data"]["result"]

    labels = found["metric"]
    assert (labels["namespace"], labels["release"]) == (installed.name, RELEASE)
    assert labels["pod"].startswith("lw-labelwright-controller-")


def test_the_alerts_are_loaded_and_none_is_raised(installed: Namespace) -> None:
    with installed.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):
        (group,) = get(address, "/api/v1/rules")["data"]["groups"]
        alerts = get(address, "/api/v1/alerts")["data"]["alerts"]

    assert sorted(each["name"] for each in group["rules"]) == sorted(path.stem for path in (CHART / "alerts").iterdir())
    assert [each for each in alerts if each["state"] == "firing"] == []


def test_grafana_has_loaded_the_dashboards_without_a_token(installed: Namespace) -> None:
    with installed.forwarded(f"service/{GRAFANA}", 80) as (address,):
        assert get(address, "/api/health")["database"] == "ok"
        titles = {each["title"] for each in get(address, "/api/search", type="dash-db")}

    assert titles == {f"Labelwright / {each}" for each in ("Classifiers", "Platform", "Serving", "Training")}


def test_the_samples_are_on_the_volume_after_the_pod_is_gone(installed: Namespace) -> None:
    with installed.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):
        first = get(address, "/api/v1/query", query="min_over_time(timestamp(up)[1h:2s])")["data"]["result"]
    installed.kubectl("delete", "pod", "--selector=app.kubernetes.io/component=prometheus", "--wait=true")
    installed.kubectl("rollout", "status", f"deployment/{PROMETHEUS}", "--timeout=120s")

    with installed.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):
        again = get(address, "/api/v1/query", query="min_over_time(timestamp(up)[1h:2s])")["data"]["result"]

    assert {each["value"][1] for each in first} & {each["value"][1] for each in again}
