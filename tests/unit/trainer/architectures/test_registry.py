"""The architectures that can be fitted."""

from __future__ import annotations

from model.manifest import FINE_TUNED, ArchitectureName
from trainer.architectures.registry import BASELINE, REGISTRY
from trainer.config.settings import Config


def test_every_architecture_that_a_setting_may_name_can_be_fitted() -> None:
    assert sorted(each.name for each in REGISTRY) == sorted(ArchitectureName)
    assert BASELINE in REGISTRY


def test_exactly_the_architectures_that_are_fine_tuned_need_a_base_model() -> None:
    without = Config.model_validate({"dataset": {"uri": "s3://data/papers.csv"}, "name": "papers"})
    assert [each.name for each in REGISTRY if not each.is_configured(without)] == list(FINE_TUNED)
