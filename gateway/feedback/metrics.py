"""Prometheus series of corrections, on the registry of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from gateway.feedback.batches import Waiting


class FeedbackMetrics:
    """Series of corrections. The controller's feedback trigger counts `corrections`.

    namespace: that of the classifiers. None leaves the label to Prometheus, which adds the namespace of the gateway.
    """

    def __init__(self, registry: CollectorRegistry, namespace: str | None) -> None:
        self._registry = registry
        # The label is absent, not empty: with honorLabels, an empty one keeps Prometheus from adding its own.
        self._namespace = () if namespace is None else (namespace,)
        self._labels = (*("namespace" for _ in self._namespace), "classifier")
        self._corrections = Counter(
            "labelwright_feedback_corrections", "Corrections that this process has stored.", self._labels, registry=registry
        )
        self._failures = Counter(
            "labelwright_feedback_flush_failures", "Attempts to store corrections that failed.", self._labels, registry=registry
        )

    def know(self, classifier: str) -> None:
        """Start the classifier's counters at 0: Prometheus sees an increase only of a series that exists."""
        for counter in (self._corrections, self._failures):
            counter.labels(*self._namespace, classifier)

    def stored(self, classifier: str, corrections: int) -> None:
        """Count corrections that this process has stored."""
        self._corrections.labels(*self._namespace, classifier).inc(corrections)

    def failed(self, classifier: str) -> None:
        """Count a failed attempt."""
        self._failures.labels(*self._namespace, classifier).inc()

    def watch(self, waiting: Callable[[], Sequence[Waiting]]) -> None:
        """Add the gauges of held corrections. They are read when the metrics are scraped."""
        self._registry.register(_HeldCollector(waiting, self._labels, self._namespace))


class _HeldCollector(Collector):
    """Gauges of held corrections. They come from Redis, so every worker shows the same: take the maximum, not the sum."""

    def __init__(self, waiting: Callable[[], Sequence[Waiting]], labels: Sequence[str], namespace: Sequence[str]) -> None:
        self._waiting = waiting
        self._labels = labels
        self._namespace = namespace

    def describe(self) -> Iterator[Metric]:
        """Name the series without asking Redis, which may be away while the worker starts."""
        yield from self._families(())

    def collect(self) -> Iterator[Metric]:
        try:
            waiting = self._waiting()
        except (RedisError, OSError):
            return
        yield from self._families(waiting)

    def _families(self, waiting: Sequence[Waiting]) -> Iterator[Metric]:
        rows = GaugeMetricFamily(
            "labelwright_feedback_held", "Corrections and withdrawals that are not stored yet.", labels=self._labels
        )
        age = GaugeMetricFamily(
            "labelwright_feedback_oldest_held_seconds",
            "Age of the oldest correction or withdrawal that is not stored yet.",
            labels=self._labels,
        )
        for each in waiting:
            rows.add_metric([*self._namespace, each.classifier], each.rows)
            age.add_metric([*self._namespace, each.classifier], each.oldest_seconds)
        yield rows
        yield age
