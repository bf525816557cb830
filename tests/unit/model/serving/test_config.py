"""Settings of the server, valid and invalid."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from model.cores import usable_cores
from model.serving.config import ServingConfig


def test_the_ports_are_kserves_by_default() -> None:
    config = ServingConfig(version="/mnt/models")

    assert (config.port, config.grpc_port, config.name) == (8080, 8081, None)
    assert config.threads == usable_cores()


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"grpc_port": 65536},
        {"threads": 0},
        {"host": "localhost"},
        {"name": ""},
        {"name": "a/b"},
        {"version": ""},
        {"colour": "red"},
    ],
    ids=repr,
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServingConfig.model_validate({"version": "v1"} | wrong)
