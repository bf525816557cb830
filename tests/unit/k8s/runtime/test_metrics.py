"""Series of the controller."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter

from k8s.controller.runtime.metrics import ClassifierGauges, ControllerMetrics

PAPERS = {"namespace": "team", "classifier": "papers"}
GAUGES = ("ready", "run_score", "served_score", "minimum_score", "corrections", "drift_index", "gate_failures")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ControllerMetrics:
    return ControllerMetrics(registry, waiting=lambda: 7)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"labelwright_{name}", labels)


def series_of(registry: CollectorRegistry, classifier: str) -> set[str]:
    return {
        sample.name for family in registry.collect() for sample in family.samples if sample.labels.get("classifier") == classifier
    }


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
        version="papers-2",
        run_score=0.8,
        served_score=0.75,
        minimum_score=0.7,
        corrections=12,
        drift_index=0.1,
        gate_failures=2,
    )
    metrics.seen("team", "papers", facts)

    assert [value(registry, f"classifier_{name}", **PAPERS) for name in GAUGES] == [0, 0.8, 0.75, 0.7, 12, 0.1, 2]
    assert value(registry, "classifier_info", **PAPERS, version="papers-2") == 1
    assert value(registry, "classifier_info", **PAPERS, version="papers-1") is None


def test_what_is_not_known_of_a_classifier_has_no_series(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    metrics.seen("team", "papers", ClassifierGauges())

    shown = {name for name in series_of(registry, "papers") if name.startswith("labelwright_classifier_")}
    assert shown == {"labelwright_classifier_ready", "labelwright_classifier_rollout_failed"}


def test_only_the_state_and_the_problem_that_hold_have_a_series(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    metrics.seen("team", "papers", ClassifierGauges(state="Degraded", degraded="RollOutFailed", rollout_failed=True))
    assert value(registry, "classifier_state", **PAPERS, state="Degraded") == 1
    assert value(registry, "classifier_degraded", **PAPERS, reason="RollOutFailed") == 1
    assert value(registry, "classifier_rollout_failed", **PAPERS) == 1

    metrics.seen("team", "papers", ClassifierGauges(state="Ready"))
    assert value(registry, "classifier_state", **PAPERS, state="Ready") == 1
    assert value(registry, "classifier_state", **PAPERS, state="Degraded") is None
    assert value(registry, "classifier_degraded", **PAPERS, reason="RollOutFailed") is None
    assert value(registry, "classifier_rollout_failed", **PAPERS) == 0


def test_the_counters_of_a_classifier_begin_at_zero(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    metrics.seen("team", "papers", ClassifierGauges())

    assert value(registry, "training_runs_total", **PAPERS, state="Rejected") == 0
    assert value(registry, "training_runs_triggered_total", **PAPERS, reason="Drift") == 0
    assert value(registry, "training_storage_errors", **PAPERS) == 0


def test_a_training_is_counted_by_what_started_it(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    metrics.triggered("team", "papers", reason="Schedule")

    assert value(registry, "training_runs_triggered_total", **PAPERS, reason="Schedule") == 1


def test_the_process_of_the_controller_is_measured(metrics: ControllerMetrics, registry: CollectorRegistry) -> None:
    assert (registry.get_sample_value("process_resident_memory_bytes") or 0) > 0


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


def test_two_controllers_of_a_process_have_a_registry_each() -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    for each in registries:
        ControllerMetrics(each).passed("TextClassifier", 1.0)
        Counter("labelwright_other", "Of somebody else.", registry=each)

    assert all(value(each, "controller_reconcile_seconds_count", kind="TextClassifier") == 1 for each in registries)
