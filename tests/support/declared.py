"""Registries of the predictor, the controller and the trainer in which every series has a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector

from k8s.controller.runtime.metrics import ClassifierGauges, ControllerMetrics
from model.classifier import TokenizedText
from model.serving.metrics import Metrics
from tests.support.versions import make_manifest
from trainer.tracking.training_metrics import Phase, TrainingMetrics

NAMESPACE, CLASSIFIER, VERSION = "papers", "docs", "docs-2"


def predictor(folder: Path) -> CollectorRegistry:
    """folder: where a version may be made."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)  # the server uses the process's own registry, which has one
    metrics = Metrics(make_manifest(folder), registry, unknown_id=1)
    metrics.watch(lambda: 3, capacity=100, threads=2)
    return use_predictor(metrics, registry)


def use_predictor(metrics: Metrics, registry: CollectorRegistry) -> CollectorRegistry:
    """Count some requests."""
    for code, protocol in (("200", "v2"), ("500", "v2"), ("OK", "grpc")):
        metrics.answered(protocol, code, 0.02)
    metrics.waited(0.01)
    metrics.refused()
    metrics.computed([TokenizedText([5, 6], truncated=True)], np.array([[0.9, 0.6, 0.1]], np.float32), 0.01)
    return registry


def controller() -> CollectorRegistry:
    """Of a classifier that has every fact."""
    registry = CollectorRegistry()
    metrics = ControllerMetrics(registry, waiting=lambda: 2)
    metrics.passed("TextClassifier", 0.01)
    metrics.failed("TrainingRun", "unavailable")
    facts = ClassifierGauges(
        ready=True,
        rollout_failed=True,
        state="Degraded",
        degraded="RollOutFailed",
        version="docs-1",
        run_score=0.7,
        served_score=0.8,
        minimum_score=0.5,
        corrections=3,
        drift_index=0.1,
        gate_failures=1,
    )
    metrics.seen(NAMESPACE, CLASSIFIER, facts)
    metrics.triggered(NAMESPACE, CLASSIFIER, reason="Schedule")
    metrics.stored(NAMESPACE, CLASSIFIER, errors=1)
    metrics.ended(NAMESPACE, CLASSIFIER, state="Published", seconds=60.0)
    return registry


def trainer() -> CollectorRegistry:
    """Of a training that fits a model."""
    metrics = TrainingMetrics(CollectorRegistry())
    metrics.identify(CLASSIFIER, VERSION)
    metrics.phase(Phase.FITTING)
    metrics.progressed(10, steps=100, epoch=0.5)
    metrics.measured(loss=0.4, learning_rate=1e-4, texts_per_second=100.0)
    metrics.validated(micro_f1=0.7, macro_f1=0.6)
    metrics.checkpoint_saved()
    return metrics.registry


def labels_by_series(*registries: CollectorRegistry) -> dict[str, set[str]]:
    """The labels of each series, by its name."""
    found: dict[str, set[str]] = {}
    for registry in registries:
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found
