"""Prometheus series of the controller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from k8s.controller.api.v1alpha1.training_run import TriggerReason
from k8s.controller.observed.run import FINAL_STATES

RECONCILE_SECONDS_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
DAY = 86_400.0
RUN_SECONDS_BUCKETS = (10.0, 30.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 3 * 3_600.0, 6 * 3_600.0, DAY / 2, DAY, 2 * DAY, 3 * DAY)
Reason = Literal["conflict", "refused", "unavailable", "fault"]
CLASSIFIER_LABELS = ("namespace", "classifier")


@dataclass(frozen=True)
class ClassifierGauges:
    """Figures of a classifier's status. None: no series."""

    ready: bool = False
    rollout_failed: bool = False
    state: str | None = None  # the state column
    degraded: str | None = None  # reason of the condition Degraded while it is True
    version: str | None = None  # served version
    run_score: float | None = None  # of the latest published version
    served_score: float | None = None
    minimum_score: float | None = None
    corrections: int | None = None
    drift_index: float | None = None
    gate_failures: int | None = None  # trainings in a row, the latest included


class ControllerMetrics:
    """Metrics of the controller and its process. Labels: kind (of object), namespace, classifier, state, version, reason.

    waiting: returns the number of keys that wait in the queue. Any thread may call.
    """

    def __init__(self, registry: CollectorRegistry, *, waiting: Callable[[], int] = lambda: 0) -> None:
        ProcessCollector(registry=registry)
        self._reconcile = Histogram(
            "labelwright_controller_reconcile_seconds",
            "Duration of a reconciliation, in seconds.",
            ["kind"],
            buckets=RECONCILE_SECONDS_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "labelwright_controller_reconcile_errors",
            "Reconciliations that failed.",
            ["kind", "reason"],
            registry=registry,
        )
        queue = Gauge("labelwright_controller_queue_keys", "Objects that wait for a reconciliation.", registry=registry)
        queue.set_function(lambda: float(waiting()))
        self._runs = Counter(
            "labelwright_training_runs", "Training runs that ended.", [*CLASSIFIER_LABELS, "state"], registry=registry
        )
        self._triggered = Counter(
            "labelwright_training_runs_triggered",
            "Training runs that began, by trigger.",
            [*CLASSIFIER_LABELS, "reason"],
            registry=registry,
        )
        self._storage_errors = Gauge(
            "labelwright_training_storage_errors",
            "Attempts of the current training that ended because a storage did not answer; 0 while one is running.",
            CLASSIFIER_LABELS,
            registry=registry,
        )
        self._run_seconds = Histogram(
            "labelwright_training_run_seconds",
            "Duration of a training run, in seconds.",
            CLASSIFIER_LABELS,
            buckets=RUN_SECONDS_BUCKETS,
            registry=registry,
        )
        self._classifiers = _ClassifierSeries()
        registry.register(self._classifiers)

    def passed(self, kind: str, seconds: float) -> None:
        """Observe the duration of a reconciliation, successful or not."""
        self._reconcile.labels(kind).observe(seconds)

    def failed(self, kind: str, reason: Reason) -> None:
        """Count a failed reconciliation."""
        self._errors.labels(kind, reason).inc()

    def triggered(self, namespace: str, classifier: str, *, reason: str) -> None:
        """Count a run that was seen for the first time."""
        self._triggered.labels(namespace, classifier, reason).inc()

    def stored(self, namespace: str, classifier: str, *, errors: int) -> None:
        """Set the number of attempts of the current run that found no storage."""
        self._storage_errors.labels(namespace, classifier).set(errors)

    def ended(self, namespace: str, classifier: str, *, state: str, seconds: float | None) -> None:
        """Count a run that has ended. seconds: None if it never started."""
        self._runs.labels(namespace, classifier, state).inc()
        if seconds is not None:
            self._run_seconds.labels(namespace, classifier).observe(seconds)

    def seen(self, namespace: str, classifier: str, facts: ClassifierGauges) -> None:
        """Set the figures of a classifier.

        The counters of a new classifier begin at 0, because Prometheus sees no increase in the first value of a series.
        """
        for state in FINAL_STATES:
            self._runs.labels(namespace, classifier, state)
        for reason in get_args(TriggerReason):
            self._triggered.labels(namespace, classifier, reason)
        self._storage_errors.labels(namespace, classifier)
        self._classifiers.see(namespace, classifier, facts)

    def forget(self, namespace: str, classifier: str) -> None:
        """Remove the series of a deleted classifier."""
        self._classifiers.forget(namespace, classifier)
        labels = dict(zip(CLASSIFIER_LABELS, (namespace, classifier), strict=True))
        for each in (self._runs, self._triggered, self._run_seconds, self._storage_errors):
            each.remove_by_labels(labels)


class _ClassifierSeries(Collector):
    """Series of each classifier, from its latest status."""

    GAUGES = (
        ("ready", "1 if the classifier serves requests, else 0."),
        ("rollout_failed", "1 if the wanted version could not be rolled out and was given up, else 0."),
        ("run_score", "Score of the latest published version on the test part."),
        ("served_score", "Score of the served version."),
        ("minimum_score", "Score that a version must reach to be served."),
        ("corrections", "Number of corrections by people since the latest training."),
        ("drift_index", "Larger population stability index of predicted labels and text lengths, against the test part."),
        ("gate_failures", "Trainings in a row whose version failed the gate, the latest included."),
    )
    # Series whose value is always 1: name, label, explanation.
    WORDS = (
        ("info", "version", "Served version, as a label. The value is always 1."),
        ("state", "state", "State, as a label. The value is always 1."),
        ("degraded", "reason", "Reason for which the classifier is degraded, as a label. The value is always 1."),
    )

    def __init__(self) -> None:
        self._lock = Lock()
        self._facts: dict[tuple[str, str], ClassifierGauges] = {}

    def see(self, namespace: str, classifier: str, facts: ClassifierGauges) -> None:
        with self._lock:
            self._facts[namespace, classifier] = facts

    def forget(self, namespace: str, classifier: str) -> None:
        with self._lock:
            self._facts.pop((namespace, classifier), None)

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            seen = dict(self._facts)
        for name, explanation in self.GAUGES:
            family = GaugeMetricFamily(f"labelwright_classifier_{name}", explanation, labels=CLASSIFIER_LABELS)
            for labels, facts in seen.items():
                value = getattr(facts, name)
                if value is not None:
                    family.add_metric(labels, float(value))
            yield family
        for name, label, explanation in self.WORDS:
            family = GaugeMetricFamily(f"labelwright_classifier_{name}", explanation, labels=[*CLASSIFIER_LABELS, label])
            for labels, facts in seen.items():
                word = facts.version if name == "info" else getattr(facts, name)
                if word is not None:
                    family.add_metric([*labels, word], 1)
            yield family
