from __future__ import annotations

import math
import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from trainer.errors import ConfigRejected
from trainer.tracking.training_metrics import Phase, TrainingMetrics


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> TrainingMetrics:
    return TrainingMetrics(CollectorRegistry(), clock=clock)


def series(text: str) -> dict[str, float]:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        sample.name.removeprefix("labelwright_training_") + sample.labels.get("phase", ""): sample.value for sample in samples
    }


def shown(metrics: TrainingMetrics) -> dict[str, float]:
    return series(generate_latest(metrics.registry).decode())


def test_a_series_appears_with_its_first_value(metrics: TrainingMetrics) -> None:
    assert shown(metrics) == {}

    metrics.progressed(30, steps=200, epoch=0.45)
    metrics.validated(micro_f1=0.7)

    assert shown(metrics) == {"step": 30, "steps": 200, "epoch": 0.45, "validation_micro_f1": 0.7}


def test_every_reported_value_is_shown(metrics: TrainingMetrics) -> None:
    metrics.progressed(1, steps=2, epoch=0.5)
    metrics.progressed(2, steps=2, epoch=1)
    metrics.measured(loss=0.25, learning_rate=1e-4, texts_per_second=120)
    metrics.validated(micro_f1=0.7, macro_f1=0.6)

    assert shown(metrics) == {
        "step": 2,
        "steps": 2,
        "epoch": 1,
        "loss": 0.25,
        "learning_rate": 1e-4,
        "texts_per_second": 120,
        "validation_micro_f1": 0.7,
        "validation_macro_f1": 0.6,
    }


def test_one_phase_at_a_time_is_1(metrics: TrainingMetrics) -> None:
    for phase in Phase:
        metrics.phase(phase)
        assert shown(metrics) == {f"phase{each}": float(each is phase) for each in Phase}


def test_the_last_checkpoint_grows_old_until_the_next(metrics: TrainingMetrics, clock: Clock) -> None:
    ages = []
    for tell in (metrics.checkpoint_saved, lambda: None, metrics.checkpoint_saved):
        tell()
        clock.now += 20
        ages.append(shown(metrics)["last_checkpoint_age_seconds"])

    assert ages == [20, 40, 20]


def test_a_loss_that_is_not_a_number_is_shown_as_such(metrics: TrainingMetrics) -> None:
    metrics.measured(loss=math.nan, learning_rate=math.inf, texts_per_second=0)

    found = shown(metrics)
    assert math.isnan(found["loss"])
    assert found["learning_rate"] == math.inf


def test_two_trainings_do_not_share_a_registry(metrics: TrainingMetrics) -> None:
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        TrainingMetrics(metrics.registry)


def test_metrics_are_served_on_every_address_until_the_end(metrics: TrainingMetrics) -> None:
    metrics.phase(Phase.READING)
    with metrics.serve(0) as port:
        for host in ("127.0.0.1", "localhost"):
            with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
                assert series(answer.read().decode())["phasereading"] == 1

    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)


def test_without_a_port_nothing_listens(metrics: TrainingMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "bind", _forbidden)
    with metrics.serve(None) as port:
        assert port is None


def _forbidden(*_: object) -> None:
    raise AssertionError


def test_a_port_that_is_in_use_is_a_wrong_setting(metrics: TrainingMetrics) -> None:
    with metrics.serve(0) as port, pytest.raises(ConfigRejected) as rejected, metrics.serve(port):
        pass

    assert str(rejected.value) == f"progress.metrics_port is {port}: the port is in use; 0 takes any free port"
