"""Series of the predictor, call by call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from model.classifier import TokenizedText
from model.serving.metrics import Metrics
from tests.support.versions import make_manifest

UNKNOWN = 0


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(tmp_path: Path, registry: CollectorRegistry) -> Metrics:
    return Metrics(make_manifest(tmp_path), registry, unknown_id=UNKNOWN)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"labelwright_{name}", labels)


def test_a_request_is_counted_by_protocol_and_code(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.answered("v2", "200", 0.0004)
    metrics.answered("v2", "200", 0.0006)
    metrics.answered("v2", "400", 0.0006)

    assert value(registry, "predictor_requests_total", protocol="v2", code="200") == 2
    assert value(registry, "predictor_requests_total", protocol="v2", code="400") == 1
    assert value(registry, "predictor_request_seconds_count", protocol="v2") == 3
    assert value(registry, "predictor_request_seconds_bucket", protocol="v2", le="0.0005") == 1


def test_a_wait_is_observed(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.waited(0.25)

    assert value(registry, "predictor_queue_seconds_sum") == 0.25


def test_a_batch_is_counted(metrics: Metrics, registry: CollectorRegistry) -> None:
    tokens = [
        TokenizedText([1, UNKNOWN, 2], truncated=False),
        TokenizedText([3], truncated=True),
        TokenizedText([], truncated=False),
    ]
    metrics.computed(tokens, np.array([[0.9, 0.6, 0.1], [0.1, 0.2, 0.4], [0.1, 0.5, 0.2]], np.float32), 0.125)

    assert value(registry, "predictor_inference_seconds_sum") == 0.125
    assert value(registry, "predictor_batch_texts_bucket", le="2.0") == 0
    assert value(registry, "predictor_batch_texts_bucket", le="4.0") == 1
    assert value(registry, "predictor_texts_total") == 3
    assert value(registry, "predictor_tokens_total") == 4
    assert value(registry, "predictor_truncated_texts_total") == 1
    assert value(registry, "predictor_below_threshold_texts_total") == 1
    labels = ("cs.LG", "stat.ML", "math.CO")
    assert [value(registry, "predictor_predicted_labels_total", label=each) for each in labels] == [1, 2, 1]
    assert value(registry, "drift_window_texts") == 3
    assert value(registry, "drift_unknown_token_share") == 0.25
    assert value(registry, "drift_reference_unknown_token_share") == 0.2


def test_a_labels_name_acts_on_no_terminal_and_makes_no_line(tmp_path: Path, registry: CollectorRegistry) -> None:
    names = ("a\x1b[2J\nlabelwright_forged 1\r", "a\\x1b[2J\\nlabelwright_forged 1\\r", "b\u202e")
    manifest = make_manifest(tmp_path)
    assert len(manifest.labels) == len(names)
    Metrics(manifest.model_copy(update={"labels": names}), registry)

    text = generate_latest(registry).decode()

    assert not [each for each in text if not each.isprintable() and each != "\n"]
    assert not [line for line in text.splitlines() if line.startswith("labelwright_forged")]
    found = {
        each.labels["label"]
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if "label" in each.labels
    }
    assert len(found) == len(names)


def test_every_series_is_there_from_the_start(metrics: Metrics, registry: CollectorRegistry) -> None:
    assert value(registry, "predictor_texts_total") == 0
    assert value(registry, "predictor_predicted_labels_total", label="cs.LG") == 0
    assert value(registry, "drift_label_psi") == 0
    assert value(registry, "drift_token_length_psi") == 0
    assert value(registry, "drift_unknown_token_share") == 0


def test_drift_is_reported(tmp_path: Path, registry: CollectorRegistry) -> None:
    manifest = make_manifest(tmp_path)
    test = manifest.scores.test.model_copy(update={"texts": 1000})
    metrics = Metrics(manifest.model_copy(update={"scores": manifest.scores.model_copy(update={"test": test})}), registry)
    for _ in range(500):
        metrics.computed([TokenizedText([1] * 16, truncated=False)], np.array([[0.9, 0.1, 0.1]], np.float32), 0.001)

    assert value(registry, "drift_label_psi") > 0.25
    assert value(registry, "drift_token_length_psi") > 0.25


@pytest.mark.parametrize(
    ("below", "drifts"), [pytest.param(70, False, id="as-in-the-test"), pytest.param(0, True, id="every-text-has-one-now")]
)
def test_texts_without_a_label_are_a_category_of_drift(
    below: int, drifts: bool, tmp_path: Path, registry: CollectorRegistry
) -> None:
    manifest = make_manifest(tmp_path, label_required=False)  # each label for 0.1 of the texts, none for 0.7
    test = manifest.scores.test.model_copy(update={"texts": 1000})
    metrics = Metrics(manifest.model_copy(update={"scores": manifest.scores.model_copy(update={"test": test})}), registry)
    rows = np.full((100, 3), 0.1, np.float32)
    rows[np.arange(100 - below), np.arange(100 - below) % 3] = 0.9
    for _ in range(10):
        metrics.computed([TokenizedText([1], truncated=False)] * 100, rows, 0.001)

    assert value(registry, "predictor_below_threshold_texts_total") == 10 * below
    assert (
        sum(value(registry, "predictor_predicted_labels_total", label=each) or 0 for each in manifest.labels) == 1000 - 10 * below
    )
    assert (value(registry, "drift_label_psi") > 0.25) is drifts


def test_every_series_can_be_written_as_text(metrics: Metrics, registry: CollectorRegistry) -> None:
    text = generate_latest(registry).decode()

    assert "# TYPE labelwright_predictor_tokens_total counter" in text
    assert '\nlabelwright_model_info{architecture="linear",classifier="papers",precision="fp32",version="v1"} 1.0\n' in text
