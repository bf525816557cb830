"""Prometheus series of the predictor, on a given registry. All labels have closed sets of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model.classifier import Floats, TokenizedText
from model.escaping import printable_names
from model.manifest import Manifest
from model.serving.drift import ReferenceDistribution
from model.serving.traffic import TrafficCounts, TrafficStatistics

# A short text takes less than a millisecond, a batch of long texts seconds.
SECONDS_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
BATCH_TEXTS_BUCKETS = tuple(2**power for power in range(11))


class Metrics:
    """Series of the predictor. Labels: protocol (v1, v2, grpc), code (HTTP or gRPC status), label (the manifest's).

    unknown_id: id of the tokenizer's token for unknown words, if it has one. Thread-safe.
    """

    def __init__(self, manifest: Manifest, registry: CollectorRegistry, *, unknown_id: int | None = None) -> None:
        self._requests = Counter(
            "labelwright_predictor_requests", "Inference requests answered.", ["protocol", "code"], registry=registry
        )
        self._seconds = Histogram(
            "labelwright_predictor_request_seconds",
            "Seconds from a request's arrival to its response.",
            ["protocol"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._queue = Histogram(
            "labelwright_predictor_queue_seconds",
            "Seconds that a request waited in the queue until its first text was taken into a batch.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._inference = Histogram(
            "labelwright_predictor_inference_seconds",
            "Seconds to compute a batch, tokenizer included.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._batch = Histogram(
            "labelwright_predictor_batch_texts", "Texts per batch.", buckets=BATCH_TEXTS_BUCKETS, registry=registry
        )
        self._refused = Counter(
            "labelwright_predictor_refused_requests", "Requests refused because the queue was full.", registry=registry
        )
        self._queue_texts, self._capacity, self._threads = (
            Gauge(f"labelwright_predictor_{name}", explanation, registry=registry)
            for name, explanation in (
                ("queue_texts", "Texts that wait to be computed."),
                ("queue_capacity_texts", "Texts that may wait; a request beyond them is refused."),
                ("threads", "Threads that compute."),
            )
        )
        model = Gauge(
            "labelwright_model_info",
            "Served version, in the labels; the value is always 1.",
            ["classifier", "version", "architecture", "precision"],
            registry=registry,
        )
        model.labels(manifest.classifier, manifest.version, manifest.training.architecture, manifest.precision).set(1)
        self._answered: dict[tuple[str, str], _RequestSeries] = {}
        self._totals = TrafficStatistics(manifest, unknown_id=unknown_id)
        registry.register(_TextCollector(manifest, self._totals))

    def answered(self, protocol: str, code: str, seconds: float) -> None:
        """Count one inference request, successful or not."""
        series = self._answered.get((protocol, code))
        if series is None:  # cached, because `labels` takes longer than counting
            series = _RequestSeries(self._requests.labels(protocol, code), self._seconds.labels(protocol))
            self._answered[protocol, code] = series
        series.requests.inc()
        series.seconds.observe(seconds)

    def watch(self, waiting: Callable[[], int], *, capacity: int, threads: int) -> None:
        """Set the values of the batcher that are exported. waiting: returns the number of texts in its queue."""
        self._queue_texts.set_function(lambda: float(waiting()))
        self._capacity.set(capacity)
        self._threads.set(threads)

    def refused(self) -> None:
        """Count one request that found the queue full."""
        self._refused.inc()

    def waited(self, seconds: float) -> None:
        """Observe the time that a request waited in the queue until its first text was taken into a batch."""
        self._queue.observe(seconds)

    def computed(self, tokens: Sequence[TokenizedText], probabilities: Floats, seconds: float) -> None:
        """Count one computed batch.

        probabilities: [texts, labels], must not be changed afterwards; seconds: tokenizer included.
        """
        self._inference.observe(seconds)
        self._batch.observe(len(tokens))
        self._totals.add(tokens, probabilities)


class _RequestSeries(NamedTuple):
    requests: Counter
    seconds: Histogram


class _TextCollector(Collector):
    """Series that are computed when they are scraped: counts of the texts since the start, and drift of the recent ones."""

    def __init__(self, manifest: Manifest, totals: TrafficStatistics) -> None:
        texts = manifest.scores.test.texts  # number of texts on which the reference was measured
        self._names = printable_names(manifest.labels)
        # If texts may have no label, "no label" is an additional category.
        self._without = [] if manifest.label_required else [manifest.reference.without_label or 0.0]
        self._labels = ReferenceDistribution([*manifest.reference.label_rates, *self._without], texts=texts)
        self._lengths = ReferenceDistribution(manifest.reference.token_length_shares, texts=texts)
        self._unknown_share = manifest.reference.unknown_token_rate
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        total, recent = self._totals.read()
        yield from self._since_the_start(total)
        yield from self._drift(recent)

    def _since_the_start(self, total: TrafficCounts) -> Iterator[Metric]:
        for name, explanation, value in (
            ("labelwright_predictor_texts", "Classified texts.", total.texts),
            ("labelwright_predictor_tokens", "Tokens of the classified texts, after cutting.", total.tokens),
            (
                "labelwright_predictor_truncated_texts",
                "Texts that were cut because they are longer than the model's maximum length.",
                total.truncated,
            ),
            (
                "labelwright_predictor_below_threshold_texts",
                "Texts without a label that reached its threshold: given none, or the most probable one if a label is required.",
                total.below,
            ),
        ):
            yield CounterMetricFamily(name, explanation, value=value)
        explanation = "Labels given by the version's own thresholds, whatever the request selected."
        predicted = CounterMetricFamily("labelwright_predictor_predicted_labels", explanation, labels=["label"])
        for label, times in zip(self._names, total.labels.tolist(), strict=True):
            predicted.add_metric([label], times)
        yield predicted

    def _drift(self, recent: TrafficCounts) -> Iterator[Metric]:
        unknown_share = recent.unknown_tokens / max(1, recent.tokens)
        for name, explanation, value in (
            ("labelwright_drift_window_texts", "Recent texts on which drift is measured.", recent.texts),
            (
                "labelwright_drift_label_psi",
                "Population stability index of the labels of recent texts, against the test part.",
                self._labels.stability_index(np.append(recent.labels, recent.below) if self._without else recent.labels),
            ),
            (
                "labelwright_drift_token_length_psi",
                "Population stability index of the lengths of recent texts in tokens, against the test part.",
                self._lengths.stability_index(recent.lengths),
            ),
            ("labelwright_drift_unknown_token_share", "Share of unknown tokens in recent texts.", unknown_share),
            ("labelwright_drift_reference_unknown_token_share", "Share of unknown tokens in the test part.", self._unknown_share),
        ):
            yield GaugeMetricFamily(name, explanation, value=value)
