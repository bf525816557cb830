"""Prometheus series of the API, on a given registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.records.intake import Sight

SECONDS_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class ApiMetrics:
    """Series of the API. Labels: route (as documented, without ids), code (HTTP status), outcome of a submission."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        self.requests = Counter("labelwright_gateway_requests", "Requests answered.", ["route", "code"], registry=registry)
        self.seconds = Histogram(
            "labelwright_gateway_request_seconds",
            "Seconds from a request to its response, including the wait for an outcome.",
            ["route"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.submissions = Counter(
            "labelwright_gateway_submissions",
            "Submissions, by outcome: accepted, repeated, conflict, full.",
            ["outcome"],
            registry=registry,
        )

    def watch(self, sight: Callable[[], Sight | None], predictors: Callable[[], dict[str, str]]) -> None:
        """Add the gauges of Redis, of open tasks and of the predictors. They are read when the metrics are scraped."""
        self.registry.register(_OpenCollector(sight, predictors))


class _OpenCollector(Collector):
    """Gauges of open tasks. They come from Redis, so every API process shows the same: take the maximum, not the sum."""

    def __init__(self, sight: Callable[[], Sight | None], predictors: Callable[[], dict[str, str]]) -> None:
        self._sight = sight
        self._predictors = predictors

    def collect(self) -> Iterator[Metric]:
        sight = self._sight()
        yield GaugeMetricFamily("labelwright_gateway_redis_up", "1 if Redis answers.", value=float(sight is not None))
        ready = GaugeMetricFamily("labelwright_gateway_predictor_up", "1 if the predictor is ready.", labels=["classifier"])
        for name, state in self._predictors().items():
            ready.add_metric([name], float(state == "ready"))
        yield ready
        if sight is None:
            return
        tasks = GaugeMetricFamily("labelwright_gateway_open_tasks", "Tasks without an outcome.", labels=["state"])
        tasks.add_metric(["processing"], sight.processing)
        tasks.add_metric(["pending"], max(0, sight.tasks - sight.processing))
        yield tasks
        yield GaugeMetricFamily("labelwright_gateway_open_bytes", "Bytes of the texts of open tasks.", value=sight.bytes)
        yield GaugeMetricFamily("labelwright_gateway_open_webhooks", "Webhooks that are not delivered yet.", value=sight.webhooks)
        yield GaugeMetricFamily(
            "labelwright_gateway_queue_age_seconds", "Age of the oldest open task.", value=sight.oldest_seconds
        )
