"""Endpoint of the controller: series, health, and the Pods that Prometheus scrapes."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from k8s.controller.clients.errors import Unavailable
from k8s.controller.objects import names
from k8s.controller.runtime import endpoint as endpoints
from k8s.controller.runtime.endpoint import Endpoint
from k8s.controller.runtime.metrics import ClassifierGauges, ControllerMetrics
from k8s.controller.runtime.scrape_targets import ScrapeTarget, scrape_targets
from tests.support.fakes import FakeCluster


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ControllerMetrics:
    return ControllerMetrics(registry)


@pytest.fixture
def health() -> list[bool]:
    return [True]


@pytest.fixture
def endpoint(registry: CollectorRegistry, metrics: ControllerMetrics, health: list[bool]) -> Iterator[Endpoint]:
    endpoint = serve(0, registry, healthy=lambda: health[-1])
    yield endpoint
    endpoint.close()


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def serve(port: int, registry: CollectorRegistry, **given: Any) -> Endpoint:
    return endpoints.serve(port, registry, **{"healthy": lambda: True, "targets": lambda _: [], **given})


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


def test_the_port_tells_the_series(endpoint: Endpoint, metrics: ControllerMetrics) -> None:
    metrics.seen("team", "papers", ClassifierGauges(run_score=0.5))
    status, text = get(endpoint.port, "/metrics")

    assert status == 200
    assert {"labelwright_controller_queue_keys", "labelwright_classifier_run_score"} <= {
        family.name for family in text_string_to_metric_families(text)
    }


def test_the_port_tells_whether_it_is_well(endpoint: Endpoint, health: list[bool]) -> None:
    assert get(endpoint.port, "/healthz") == (200, "well\n")
    health.append(False)
    assert get(endpoint.port, "/healthz") == (503, "not well\n")


def test_an_unknown_health_is_none(registry: CollectorRegistry) -> None:
    def healthy() -> bool:
        raise RuntimeError("nobody knows")

    endpoint = serve(0, registry, healthy=healthy)
    assert get(endpoint.port, "/healthz")[0] == 500
    endpoint.close()


def test_any_other_path_is_not_found(endpoint: Endpoint) -> None:
    assert get(endpoint.port, "/")[0] == 404


def test_the_port_answers_over_ipv6_too(endpoint: Endpoint) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    assert get(endpoint.port, "/healthz", "::1")[0] == 200


def test_a_silent_client_delays_neither_other_clients_nor_the_end(registry: CollectorRegistry) -> None:
    endpoint = serve(0, registry)
    with socket.create_connection(("127.0.0.1", endpoint.port)):
        assert get(endpoint.port, "/healthz")[0] == 200
        endpoint.close()


def test_a_closed_port_can_be_opened_again_and_a_taken_one_cannot(registry: CollectorRegistry) -> None:
    first = serve(0, registry)
    with pytest.raises(OSError, match="in use"):
        serve(first.port, registry)
    first.close()
    with pytest.raises(OSError, match="refused"):
        get(first.port, "/healthz")

    serve(first.port, registry).close()


def pod(
    cluster: FakeCluster, name: str, component: str, *, address: str = "10.0.0.7", namespace: str = "team", **status: Any
) -> None:
    labels = names.labels(component, classifier="papers")
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels}}
    made = cluster.create(document)
    cluster.write_status({**(made or {}), "status": {"phase": "Running", "podIP": address, **status}})


def test_prometheus_finds_the_running_pods_of_a_component(registry: CollectorRegistry, cluster: FakeCluster) -> None:
    pod(cluster, "serves", "predictor")
    pod(cluster, "serves-on-ipv6", "predictor", address="fd00::7")
    pod(cluster, "waits", "predictor", phase="Pending")
    pod(cluster, "serves-elsewhere", "predictor", namespace="other")
    pod(cluster, "trains", "trainer", address="10.0.0.9")
    endpoint = serve(0, registry, targets=partial(scrape_targets, cluster, ("team",)))

    answers = {each: get(endpoint.port, f"/targets/{each}") for each in ("predictor", "trainer")}
    endpoint.close()

    assert {each: json.loads(text) for each, (_, text) in answers.items()} == {
        "predictor": [
            {"targets": ["10.0.0.7:8080"], "labels": {"namespace": "team", "pod": "serves"}},
            {"targets": ["[fd00::7]:8080"], "labels": {"namespace": "team", "pod": "serves-on-ipv6"}},
        ],
        "trainer": [{"targets": ["10.0.0.9:8080"], "labels": {"namespace": "team", "pod": "trains"}}],
    }


def test_a_controller_of_all_namespaces_tells_the_pods_of_all(cluster: FakeCluster) -> None:
    pod(cluster, "serves", "predictor")
    pod(cluster, "serves-elsewhere", "predictor", namespace="other")

    found = scrape_targets(cluster, (), "predictor")

    assert sorted(each["labels"]["namespace"] for each in found) == ["other", "team"]


def test_an_api_server_that_is_away_is_no_empty_list(registry: CollectorRegistry) -> None:
    def targets(component: str) -> list[ScrapeTarget]:
        raise Unavailable(f"list Pod: no answer ({component})")

    endpoint = serve(0, registry, targets=targets)

    assert get(endpoint.port, "/targets/trainer") == (503, "list Pod: no answer (trainer)\n")
    assert get(endpoint.port, "/targets/controller")[0] == 404
    endpoint.close()
