"""The predictor's Prometheus series: declared once, on the registry given, with labels from closed sets."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from model.manifest import Manifest

# A short text takes a millisecond, a batch of long ones seconds.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """What the predictor counts. Labels: protocol (v1, v2, grpc), code (HTTP or gRPC status), label (the manifest's)."""

    def __init__(self, manifest: Manifest, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "labelwright_predictor_requests", "Inference requests answered.", ["protocol", "code"], registry=registry
        )
        self._seconds = Histogram(
            "labelwright_predictor_request_seconds",
            "Seconds from a request's arrival to its answer.",
            ["protocol"],
            buckets=SECONDS,
            registry=registry,
        )
        self._texts = Counter("labelwright_predictor_texts", "Texts classified.", registry=registry)
        self._truncated = Counter(
            "labelwright_predictor_truncated_texts",
            "Texts longer than the model reads, whose rest was ignored.",
            registry=registry,
        )
        predicted = Counter("labelwright_predictor_predicted_labels", "Labels given to texts.", ["label"], registry=registry)
        self._predicted = {label: predicted.labels(label) for label in manifest.labels}
        model = Gauge(
            "labelwright_model_info",
            "The version that is served; always 1.",
            ["classifier", "version", "architecture", "precision"],
            registry=registry,
        )
        model.labels(manifest.classifier, manifest.version, manifest.training.architecture, manifest.precision).set(1)

    def answered(self, protocol: str, code: str, seconds: float) -> None:
        """Count one inference request, whatever became of it."""
        self._requests.labels(protocol, code).inc()
        self._seconds.labels(protocol).observe(seconds)

    def classified(self, *, texts: int, truncated: int, labels: Iterable[str]) -> None:
        """Count the texts of one request and the labels that they were given."""
        self._texts.inc(texts)
        self._truncated.inc(truncated)
        for label, times in Tally(labels).items():
            self._predicted[label].inc(times)
