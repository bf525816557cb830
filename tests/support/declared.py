"""Registries of the predictor, the controller, the trainer and the gateway in which every series has a sample."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector

from gateway.api.metrics import ApiMetrics
from gateway.records.intake import Sight
from gateway.work.breaker import Breaker
from gateway.work.metrics import WorkerMetrics
from k8s.controller.runtime.metrics import ClassifierGauges, ControllerMetrics
from model.classifier import TokenizedText
from model.serving.metrics import Metrics
from tests.support.versions import make_manifest
from trainer.tracking.training_metrics import Phase, TrainingMetrics

NAMESPACE, CLASSIFIER, VERSION = "papers", "docs", "docs-2"


def predictor(folder: Path) -> tuple[CollectorRegistry, Metrics]:
    """The registry, and what counts on it. folder: where a version may be made."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)  # the server uses the process's own registry, which has one
    manifest = make_manifest(folder)
    test = manifest.scores.test.model_copy(update={"texts": 5000})  # so that what is seen counts as drift
    manifest = manifest.model_copy(update={"scores": manifest.scores.model_copy(update={"test": test})})
    metrics = Metrics(manifest, registry, unknown_id=1)
    metrics.watch(lambda: 3, capacity=100, threads=2)
    use_predictor(metrics)
    return registry, metrics


def use_predictor(metrics: Metrics) -> None:
    """Count slow requests, some of which failed, and texts that are unlike those of the test part."""
    for code, protocol in (("200", "v2"), ("500", "v2"), ("OK", "grpc")):
        metrics.answered(protocol, code, 3.0)
    metrics.waited(0.01)
    metrics.refused()
    metrics.computed(
        [TokenizedText([5, 6], truncated=True)] * 300, np.tile(np.array([0.9, 0.6, 0.1], np.float32), (300, 1)), 0.01
    )


def controller() -> tuple[CollectorRegistry, ControllerMetrics]:
    """Return the registry of a controller with one classifier, which has every fact and every problem."""
    registry = CollectorRegistry()
    metrics = ControllerMetrics(registry, waiting=lambda: 2)
    metrics.passed("TextClassifier", 0.01)
    metrics.failed("TrainingRun", "unavailable")
    metrics.triggered(NAMESPACE, CLASSIFIER, reason="Schedule")
    metrics.stored(NAMESPACE, CLASSIFIER, errors=2)
    metrics.ended(NAMESPACE, CLASSIFIER, state="Published", seconds=60.0)
    see(metrics, served_score=0.8)
    return registry, metrics


def see(metrics: ControllerMetrics, *, served_score: float) -> None:
    """Show a classifier that served a version, does not answer, and whose trainings are refused."""
    facts = ClassifierGauges(
        ready=False,
        rollout_failed=True,
        state="Degraded",
        degraded="RollOutFailed",
        version="docs-1",
        run_score=0.7,
        served_score=served_score,
        minimum_score=0.5,
        corrections=3,
        drift_index=0.1,
        gate_failures=3,
    )
    metrics.seen(NAMESPACE, CLASSIFIER, facts)


def trainer() -> TrainingMetrics:
    """Return the metrics of a training that fits a model, and has saved its last checkpoint an hour ago."""
    times = itertools.chain([0.0], itertools.repeat(3600.0))
    metrics = TrainingMetrics(CollectorRegistry(), clock=lambda: next(times))
    metrics.identify(CLASSIFIER, VERSION)
    metrics.phase(Phase.FITTING)
    metrics.progressed(10, steps=100, epoch=0.5)
    metrics.measured(loss=0.4, learning_rate=1e-4, texts_per_second=100.0)
    metrics.validated(micro_f1=0.7, macro_f1=0.6)
    metrics.checkpoint_saved()
    return metrics


def gateway() -> tuple[ApiMetrics, CollectorRegistry, WorkerMetrics]:
    """Return the metrics of an API whose oldest task is an hour old, and those of a worker with their registry."""
    api, registry = ApiMetrics(CollectorRegistry()), CollectorRegistry()
    api.watch(lambda: Sight(tasks=3, processing=1, bytes=900, oldest_seconds=3600.0, webhooks=2), lambda: {CLASSIFIER: "ready"})
    worker = WorkerMetrics(registry)
    worker.watch(CLASSIFIER, Breaker())
    use_gateway(api, worker)
    return api, registry, worker


def use_gateway(api: ApiMetrics, worker: WorkerMetrics) -> None:
    """Count requests and tasks, some of which failed, and every loss that is repaired."""
    for code in ("202", "503"):
        api.requests.labels("/api/predict/", code).inc()
    api.seconds.labels("/api/predict/").observe(0.01)
    api.submissions.labels("accepted").inc()
    for state in ("success", "failed"):
        worker.finished.labels(CLASSIFIER, state).inc()
    worker.deferrals.labels(CLASSIFIER, "unavailable").inc()
    worker.request_seconds.labels(CLASSIFIER).observe(0.1)
    worker.age_seconds.observe(1.0)
    for each in (worker.second_answers, worker.expired_leases, worker.hints):
        each.inc()


def labels_by_series(*registries: CollectorRegistry) -> dict[str, set[str]]:
    """The labels of each series, by its name."""
    found: dict[str, set[str]] = {}
    for registry in registries:
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found
