"""The managed Prometheus and Grafana, as the chart installs them in a namespace that enforces restricted Pods."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any

from tests.support.chart import CHART
from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.cluster.whole_chart import CLASSIFIER, FULL, RELEASE

PROMETHEUS, GRAFANA = f"{FULL}-prometheus", f"{FULL}-grafana"
TRAINER = "labelwright-trainer"


def get(address: str, path: str, **fields: str) -> Any:
    with urllib.request.urlopen(f"http://{address}{path}?{urllib.parse.urlencode(fields)}", timeout=10) as answer:
        return json.load(answer)


def test_every_component_is_found_and_scraped(platform: Namespace) -> None:
    with platform.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):

        def up() -> dict[str, str]:
            found = get(address, "/api/v1/query", query="up")["data"]["result"]
            states = {each["metric"]["job"]: each["value"][1] for each in found}
            states.pop(TRAINER, None)  # a training that has just ended is down for a moment
            return states

        parts = ("controller", "gateway", "gateway-worker", "grafana", "predictor", "prometheus", "storage")
        wanted = {f"labelwright-{each}": "1" for each in parts}
        wait_until(lambda: up() == wanted, "every target is up", seconds=60, instead=lambda: str(up()))
        (controller,) = get(address, "/api/v1/query", query="labelwright_controller_queue_keys")["data"]["result"]
        (predictor,) = get(address, "/api/v1/query", query="up{job='labelwright-predictor'}")["data"]["result"]

    labels = controller["metric"]
    assert (labels["namespace"], labels["release"]) == (platform.name, RELEASE)
    assert predictor["metric"]["namespace"] == platform.name
    assert predictor["metric"]["pod"].startswith(f"{CLASSIFIER}-predictor-")


def test_the_training_was_scraped_while_it_ran(platform: Namespace) -> None:
    with platform.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):
        series = get(address, "/api/v1/query", query=f"max_over_time(up{{job='{TRAINER}'}}[1h])")["data"]["result"]

    assert "1" in [each["value"][1] for each in series]


def test_the_alerts_are_loaded_and_none_is_raised(platform: Namespace) -> None:
    with platform.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):
        (group,) = get(address, "/api/v1/rules")["data"]["groups"]
        alerts = get(address, "/api/v1/alerts")["data"]["alerts"]

    assert sorted(each["name"] for each in group["rules"]) == sorted(path.stem for path in (CHART / "alerts").iterdir())
    assert [each for each in alerts if each["state"] == "firing"] == []


def test_grafana_has_loaded_the_dashboards_without_a_token(platform: Namespace) -> None:
    with platform.forwarded(f"service/{GRAFANA}", 80) as (address,):
        assert get(address, "/api/health")["database"] == "ok"
        titles = {each["title"] for each in get(address, "/api/search", type="dash-db")}

    assert titles == {f"Labelwright / {each}" for each in ("Classifiers", "Gateway", "Platform", "Serving", "Training")}


def test_the_samples_are_on_the_volume_after_the_pod_is_gone(platform: Namespace) -> None:
    with platform.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):
        first = get(address, "/api/v1/query", query="min_over_time(timestamp(up)[1h:2s])")["data"]["result"]
    platform.kubectl("delete", "pod", "--selector=app.kubernetes.io/component=prometheus", "--wait=true")
    platform.kubectl("rollout", "status", f"deployment/{PROMETHEUS}", "--timeout=120s")

    with platform.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):
        again = get(address, "/api/v1/query", query="min_over_time(timestamp(up)[1h:2s])")["data"]["result"]

    assert {each["value"][1] for each in first} & {each["value"][1] for each in again}
