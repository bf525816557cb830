"""A version is copied into a folder as it was published, or not at all."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from model.artifact import GRAPH, publish, read_manifest, verify
from model.download import download
from model.storage import open_store
from tests.versions import make_version


def published(bucket: str, folder: Path) -> str:
    made = make_version(folder, version="one")
    return publish(made, read_manifest(made), open_store(f"{bucket}papers/one/")).uri


def downloaded(uri: str, folder: Path) -> Result:
    return CliRunner().invoke(download, [uri, str(folder)])


def test_every_file_arrives_unaltered(s3_bucket: str, tmp_path: Path) -> None:
    done = downloaded(published(s3_bucket, tmp_path / "made"), tmp_path / "models")

    assert done.exit_code == 0, done.output
    assert verify(tmp_path / "models").version == "one"
    assert "unaltered" in done.output


def test_what_was_altered_is_refused(s3_bucket: str, tmp_path: Path) -> None:
    uri = published(s3_bucket, tmp_path / "made")
    open_store(uri).write(GRAPH, b"another")

    done = downloaded(uri, tmp_path / "models")

    assert done.exit_code == 1
    assert GRAPH in done.output


def test_a_version_that_is_not_there_is_named(s3_bucket: str, tmp_path: Path) -> None:
    done = downloaded(f"{s3_bucket}papers/two/", tmp_path / "models")

    assert done.exit_code == 1
    assert "papers/two/ is not a published version" in done.output


def test_only_s3_is_copied_from(tmp_path: Path) -> None:
    done = downloaded(tmp_path.as_uri(), tmp_path / "models")

    assert done.exit_code == 2
    assert "expected s3://bucket/prefix/" in done.output
