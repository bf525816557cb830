"""Prometheus series of a worker, on a given registry."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from gateway.work.breaker import Breaker

SECONDS_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
AGE_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class WorkerMetrics:
    """Series of a worker. Labels: classifier, state (success, failed), reason of a deferral (unavailable, failed, breaker)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        ProcessCollector(registry=registry)
        self.finished = Counter(
            "labelwright_gateway_tasks", "Tasks whose outcome this worker wrote.", ["classifier", "state"], registry=registry
        )
        self.second_answers = Counter(
            "labelwright_gateway_second_answers", "Outcomes dropped, because the task had one or was erased.", registry=registry
        )
        self.expired_leases = Counter(
            "labelwright_gateway_expired_leases",
            "Tasks claimed after the lease of another worker expired.",
            registry=registry,
        )
        self.deferrals = Counter(
            "labelwright_gateway_deferrals",
            "Tasks given back, to be claimed again later.",
            ["classifier", "reason"],
            registry=registry,
        )
        self.hints = Counter("labelwright_gateway_swept_hints", "Hints that the sweeper sent.", registry=registry)
        self.webhooks = Counter(
            "labelwright_gateway_webhooks",
            "Attempts to send a webhook, by outcome: delivered, repeated, given-up.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("delivered", "repeated", "given-up"):
            self.webhooks.labels(outcome)
        self.request_seconds = Histogram(
            "labelwright_gateway_predictor_seconds",
            "Seconds of a request to a predictor.",
            ["classifier"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.age_seconds = Histogram(
            "labelwright_gateway_claim_age_seconds",
            "Seconds from a task's submission to its first claim.",
            buckets=AGE_BUCKETS,
            registry=registry,
        )
        self._breaker = Gauge(
            "labelwright_gateway_breaker_open", "1 while the breaker of the predictor is open.", ["classifier"], registry=registry
        )

    def watch(self, classifier: str, breaker: Breaker) -> None:
        """Add the classifier's breaker, and start its counters at 0."""
        self._breaker.labels(classifier).set_function(lambda: float(breaker.is_open))
        for state in ("success", "failed"):
            self.finished.labels(classifier, state)
