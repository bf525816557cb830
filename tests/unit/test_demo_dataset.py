"""The demo's dataset in a storage."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from labelwright.demo_dataset import demo_dataset


def test_it_is_written_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(to: Path) -> int:
        to.write_bytes(b"texts")
        return 5

    monkeypatch.setattr("labelwright.demo_dataset.write_dataset", write)
    uri = f"file://{tmp_path}/demo/docstrings.parquet"

    said = [CliRunner().invoke(demo_dataset, [uri]).output for _ in range(2)]

    assert said == [f"{uri}: 5 texts\n", f"{uri}: exists\n"]
    assert (tmp_path / "demo" / "docstrings.parquet").read_bytes() == b"texts"
