from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trainer import pipeline
from trainer.architectures import registry
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.tracking.training_metrics import Phase


def test_the_second_architecture_is_fitted_in_the_phase_fitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, phases = Attempt(), []

    def phase() -> str:
        found = [each.labels["phase"] for each in _samples(attempt, "labelwright_training_phase") if each.value == 1]
        assert len(found) == 1
        return str(found[0])

    def fit(*_: object, **__: object) -> None:
        phases.append(phase())

    architectures = [SimpleNamespace(name=name, fit=fit) for name in ("first", "second")]
    monkeypatch.setattr(registry, "architectures_to_fit", lambda _: architectures)
    data = cast("Any", SimpleNamespace(train=None, validation=None))
    for _ in pipeline.fit(Config(), data, attempt, tmp_path):
        attempt.metrics.phase(Phase.EVALUATING)

    assert phases == ["fitting", "fitting"]


def _samples(attempt: Attempt, name: str) -> list[Any]:
    return [sample for metric in attempt.metrics.registry.collect() for sample in metric.samples if sample.name == name]
