"""What Prometheus is told of the controller, and by which port."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from k8s.controller.runtime.metrics import ClassifierGauges, ControllerMetrics, MetricsEndpoint, serve

PAPERS = {"namespace": "team", "classifier": "papers"}
GAUGES = ("ready", "run_score", "served_score", "minimum_score", "corrections", "drift_index")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ControllerMetrics:
    return ControllerMetrics(registry, waiting=lambda: 7)


@pytest.fixture
def health() -> list[bool]:
    return [True]


@pytest.fixture
def endpoint(registry: CollectorRegistry, metrics: ControllerMetrics, health: list[bool]) -> Iterator[MetricsEndpoint]:
    endpoint = serve(0, registry, healthy=lambda: health[-1])
    yield endpoint
    endpoint.close()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"labelwright_{name}", labels)


def series_of(registry: CollectorRegistry, classifier: str) -> set[str]:
    return {
        sample.name for family in registry.collect() for sample in family.samples if sample.labels.get("classifier") == classifier
    }


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


def test_a_pass_is_timed_by_the_kind_of_object(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    metrics.passed("TextClassifier", 0.004)
    metrics.passed("TextClassifier", 0.25)

    assert value(registry, "controller_reconcile_seconds_count", kind="TextClassifier") == 2
    assert value(registry, "controller_reconcile_seconds_bucket", kind="TextClassifier", le="0.005") == 1


def test_a_pass_that_fails_is_counted_by_its_reason(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    metrics.failed("TrainingRun", "refused")

    assert value(registry, "controller_reconcile_errors_total", kind="TrainingRun", reason="refused") == 1


def test_the_queue_is_measured_when_it_is_asked_for(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    assert value(registry, "controller_queue_keys") == 7


def test_a_training_is_counted_by_how_it_ended_and_timed_if_it_started(
    metrics: ControllerMetrics, registry: CollectorRegistry
) -> None:
    metrics.ended("team", "papers", state="Published", seconds=120.0)
    metrics.ended("team", "papers", state="Failed", seconds=None)

    assert value(registry, "training_runs_total", **PAPERS, state="Published") == 1
    assert value(registry, "training_runs_total", **PAPERS, state="Failed") == 1
    assert value(registry, "training_run_seconds_count", **PAPERS) == 1
    assert value(registry, "training_run_seconds_bucket", **PAPERS, le="180.0") == 1


def test_a_classifier_is_shown_as_it_was_seen_last(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    metrics.seen("team", "papers", ClassifierGauges(ready=True, version="papers-1", drift_index=0.3))
    facts = ClassifierGauges(
        False, "papers-2", run_score=0.8, served_score=0.75, minimum_score=0.7, corrections=12, drift_index=0.1
    )
    metrics.seen("team", "papers", facts)

    assert [value(registry, f"classifier_{name}", **PAPERS) for name in GAUGES] == [0, 0.8, 0.75, 0.7, 12, 0.1]
    assert value(registry, "classifier_info", **PAPERS, version="papers-2") == 1
    assert value(registry, "classifier_info", **PAPERS, version="papers-1") is None


def test_what_is_not_known_of_a_classifier_has_no_series(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    metrics.seen("team", "papers", ClassifierGauges())

    assert series_of(registry, "papers") == {"labelwright_classifier_ready"}


def test_the_series_of_a_deleted_classifier_go_and_those_of_others_stay(
    metrics: ControllerMetrics, registry: CollectorRegistry
) -> None:
    for name in ("papers", "products"):
        metrics.seen("team", name, ClassifierGauges(ready=True, version="v1", run_score=0.5))
        metrics.ended("team", name, state="Published", seconds=1.0)
    before = series_of(registry, "products")

    metrics.forget("team", "papers")
    metrics.forget("team", "never-seen")

    assert series_of(registry, "papers") == set()
    assert series_of(registry, "products") == before


def test_the_port_tells_the_series(endpoint: MetricsEndpoint, metrics: ControllerMetrics) -> None:
    metrics.seen("team", "papers", ClassifierGauges(run_score=0.5))
    status, text = get(endpoint.port, "/metrics")

    assert status == 200
    assert {"labelwright_controller_queue_keys", "labelwright_classifier_run_score"} <= {
        family.name for family in text_string_to_metric_families(text)
    }


def test_the_port_tells_whether_it_is_well(endpoint: MetricsEndpoint, health: list[bool]) -> None:
    assert get(endpoint.port, "/healthz") == (200, "well\n")
    health.append(False)
    assert get(endpoint.port, "/healthz") == (503, "not well\n")


def test_an_unknown_health_is_none(registry: CollectorRegistry) -> None:
    def healthy() -> bool:
        raise RuntimeError("nobody knows")

    endpoint = serve(0, registry, healthy=healthy)
    assert get(endpoint.port, "/healthz")[0] == 500
    endpoint.close()


def test_any_other_path_is_not_found(endpoint: MetricsEndpoint) -> None:
    assert get(endpoint.port, "/")[0] == 404


def test_the_port_answers_over_ipv6_too(endpoint: MetricsEndpoint) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    assert get(endpoint.port, "/healthz", "::1")[0] == 200


def test_a_silent_client_delays_neither_other_clients_nor_the_end(registry: CollectorRegistry) -> None:
    endpoint = serve(0, registry, healthy=lambda: True)
    with socket.create_connection(("127.0.0.1", endpoint.port)):
        assert get(endpoint.port, "/healthz")[0] == 200
        endpoint.close()


def test_a_closed_port_can_be_opened_again_and_a_taken_one_cannot(registry: CollectorRegistry) -> None:
    first = serve(0, registry, healthy=lambda: True)
    with pytest.raises(OSError, match="in use"):
        serve(first.port, registry, healthy=lambda: True)
    first.close()
    with pytest.raises(OSError, match="refused"):
        get(first.port, "/healthz")

    serve(first.port, registry, healthy=lambda: True).close()


def test_two_controllers_of_a_process_have_a_registry_each() -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    for each in registries:
        ControllerMetrics(each).passed("TextClassifier", 1.0)
        Counter("labelwright_other", "Of somebody else.", registry=each)

    assert all(value(each, "controller_reconcile_seconds_count", kind="TextClassifier") == 1 for each in registries)
