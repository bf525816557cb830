"""A version is copied into a folder as it was published, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

from click.testing import CliRunner, Result

from model.artifact import GRAPH, MANIFEST, publish, read_manifest, to_json, verify
from model.download import download
from model.storage import open_store
from tests.support.versions import make_version


def published(bucket: str, folder: Path) -> str:
    made = make_version(folder, version="one")
    return publish(made, read_manifest(made), open_store(f"{bucket}papers/one/")).uri


def downloaded(uri: str, folder: Path, *options: str) -> Result:
    return CliRunner().invoke(download, [uri, str(folder), *options])


def test_every_file_arrives_unaltered(s3_bucket: str, tmp_path: Path) -> None:
    done = downloaded(published(s3_bucket, tmp_path / "made"), tmp_path / "models")

    assert done.exit_code == 0, done.output
    assert verify(tmp_path / "models").version == "one"
    assert "unaltered" in done.output


def test_what_was_altered_is_refused(s3_bucket: str, tmp_path: Path) -> None:
    uri = published(s3_bucket, tmp_path / "made")
    open_store(uri).write(GRAPH, b"another")

    done = downloaded(uri, tmp_path / "models")

    assert done.exit_code == 65
    assert GRAPH in done.output


def test_a_version_that_is_not_there_is_named(s3_bucket: str, tmp_path: Path) -> None:
    done = downloaded(f"{s3_bucket}papers/two/", tmp_path / "models")

    assert done.exit_code == 65
    assert "papers/two/ is not a published version" in done.output


def test_only_s3_is_copied_from(tmp_path: Path) -> None:
    done = downloaded(tmp_path.as_uri(), tmp_path / "models")

    assert done.exit_code == 2
    assert "expected s3://bucket/prefix/" in done.output


def test_a_manifest_of_another_digest_is_refused_with_both(s3_bucket: str, tmp_path: Path) -> None:
    uri = published(s3_bucket, tmp_path / "made")
    digest = hashlib.sha256((tmp_path / "made" / MANIFEST).read_bytes()).hexdigest()
    assert downloaded(uri, tmp_path / "models", f"--manifest-sha256={digest}").exit_code == 0
    altered = open_store(uri).read(MANIFEST).replace(b"0.5", b"0.1", 1)
    open_store(uri).write(MANIFEST, altered)

    done = downloaded(uri, tmp_path / "others", f"--manifest-sha256={digest}")

    assert done.exit_code == 65
    assert f"has SHA-256 {hashlib.sha256(altered).hexdigest()}, expected {digest}: it is not the manifest" in done.output
    assert list((tmp_path / "others").iterdir()) == []


def test_a_version_that_is_larger_than_the_free_space_is_refused_before_any_file_is_fetched(
    s3_bucket: str, tmp_path: Path
) -> None:
    uri = published(s3_bucket, tmp_path / "made")
    manifest = read_manifest(tmp_path / "made")
    huge = {name: entry.model_copy(update={"size": 10**15}) for name, entry in manifest.files.items()}
    open_store(uri).write(MANIFEST, to_json(manifest.model_copy(update={"files": huge})))

    done = downloaded(uri, tmp_path / "models")

    assert done.exit_code == 1
    assert f"{uri} has {len(huge) * 10**15:,} bytes by its manifest, but {tmp_path / 'models'} has only " in done.output
    assert list((tmp_path / "models").iterdir()) == []


def test_a_digest_that_is_none_is_refused_by_the_option(tmp_path: Path) -> None:
    done = downloaded("s3://b/v/", tmp_path / "models", "--manifest-sha256=abc")

    assert done.exit_code == 2
    assert "expected the 64 hexadecimal digits of a SHA-256" in done.output
