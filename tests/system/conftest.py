"""Servers that several files of system tests send requests to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis import RedisProcess, redis_server
from tests.support.servers import RunningServer, serving
from tests.support.versions import make_version


@pytest.fixture(scope="session")
def papers_predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Predictor of the classifier `papers`, version v1, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("papers-predictor")
    with serving(make_version(folder / "v1"), folder / "predictor.log") as server:
        yield server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """Redis of one test, as the gateway requires it."""
    with redis_server(tmp_path / "redis") as server:
        yield server
