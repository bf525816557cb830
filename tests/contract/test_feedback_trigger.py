"""The controller's feedback trigger counts the series that the gateway's flushers export: the same name, the same labels."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.feedback.batches import Waiting
from gateway.feedback.metrics import FeedbackMetrics
from k8s.controller.clients.prometheus import CORRECTIONS
from tests.support.promql import parse

QUERY = parse(CORRECTIONS.format(namespace='"team"', job='"labelwright-gateway"', what='classifier="papers"', seconds=60))
OF_THE_SCRAPE = {"job", "exported_namespace"}


def test_the_query_of_the_controller_names_the_gateways_series_and_its_labels() -> None:
    registry = CollectorRegistry()
    FeedbackMetrics(registry, "team").know("papers")
    (family,) = [each for each in registry.collect() if each.name == "labelwright_feedback_corrections"]
    (sample,) = [each for each in family.samples if each.name.endswith("_total")]

    assert {each.metric for each in QUERY.selectors} == {sample.name}
    assert set().union(*(each.labels for each in QUERY.selectors)) - OF_THE_SCRAPE == set(sample.labels)
    assert sample.labels == {"namespace": "team", "classifier": "papers"}
    assert sample.value == 0


@pytest.mark.parametrize(
    ("namespace", "labels"), [(None, '{classifier="papers"}'), ("team", '{classifier="papers",namespace="team"}')]
)
def test_a_known_classifier_has_its_series_at_0_before_its_first_correction(namespace: str | None, labels: str) -> None:
    registry = CollectorRegistry()
    metrics = FeedbackMetrics(registry, namespace)
    metrics.watch(lambda: (Waiting("papers", rows=3, oldest_seconds=1.5),))
    metrics.know("papers")
    metrics.know("papers")
    series = set(generate_latest(registry).decode().splitlines())

    assert {
        f"labelwright_feedback_corrections_total{labels} 0.0",
        f"labelwright_feedback_flush_failures_total{labels} 0.0",
        f"labelwright_feedback_held{labels} 3.0",
        f"labelwright_feedback_oldest_held_seconds{labels} 1.5",
    } <= series
