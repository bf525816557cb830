"""The architectures that can be fitted."""

from __future__ import annotations

from model.manifest import ArchitectureName
from trainer.architectures.registry import BASELINE, REGISTRY


def test_every_architecture_that_a_setting_may_name_can_be_fitted() -> None:
    assert sorted(each.name for each in REGISTRY) == sorted(ArchitectureName)
    assert BASELINE in REGISTRY
