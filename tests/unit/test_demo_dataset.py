"""The demo's dataset in a storage."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from labelwright.demo_dataset import demo_dataset
from tests.support.broken_s3 import broken_s3


@pytest.fixture(autouse=True)
def _texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write five texts: reading those of all libraries takes seconds."""

    def write(to: Path) -> int:
        to.write_bytes(b"texts")
        return 5

    monkeypatch.setattr("labelwright.demo_dataset.write_dataset", write)


def test_it_is_written_once_and_kept(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/demo/docstrings.parquet"

    said = [CliRunner().invoke(demo_dataset, [uri]).output for _ in range(2)]

    assert said == [f"{uri}: 5 texts\n", f"{uri}: exists\n"]
    assert (tmp_path / "demo" / "docstrings.parquet").read_bytes() == b"texts"


def test_a_storage_that_is_starting_is_waited_for(s3_bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{s3_bucket}docstrings.parquet"
    with broken_s3(s3_server) as storage:
        storage.starting = 4  # boto3 itself repeats a request twice
        monkeypatch.setenv("AWS_ENDPOINT_URL", storage.address)
        done = CliRunner().invoke(demo_dataset, [uri, "--seconds=60"])

    assert done.exit_code == 0, done.output
    *waiting, last = done.output.splitlines()
    assert [each.startswith(f"not yet: {s3_bucket}: ") for each in waiting] == [True]
    assert last == f"{uri}: 5 texts"


def test_after_its_time_it_fails_with_the_reason(s3_bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with broken_s3(s3_server) as storage:
        storage.starting = 1_000
        monkeypatch.setenv("AWS_ENDPOINT_URL", storage.address)
        done = CliRunner().invoke(demo_dataset, [f"{s3_bucket}docstrings.parquet"])

    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {s3_bucket}: ")
    assert "Server not initialized yet" in done.output
