"""Findings of `labelwright verify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from model.artifact import GRAPH, MANIFEST, TOKENIZER, publish, read_manifest
from model.storage import ObjectStore, open_store
from model.verification import verify
from tests.support.versions import make_version


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        bucket: str = request.getfixturevalue("s3_bucket")
        return open_store(bucket + "papers/v1/")
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def digest(store: ObjectStore, tmp_path: Path) -> str:
    """Publish a version to the store, and return the SHA-256 of its manifest."""
    folder = make_version(tmp_path / "made")
    return publish(folder, read_manifest(folder), store).manifest_sha256


def verified(store: ObjectStore, *options: str) -> Result:
    return CliRunner().invoke(verify, [store.uri, *options])


def line(done: Result, name: str) -> str:
    return next(each for each in done.output.splitlines() if each.startswith(name))


def test_an_unaltered_version_is_reported_as_intact(store: ObjectStore, digest: str) -> None:
    done = verified(store, f"--manifest-sha256={digest}")

    assert done.exit_code == 0, done.output
    assert [line(done, each).split()[-1] for each in (GRAPH, TOKENIZER)] == ["intact", "intact"]
    assert line(done, MANIFEST).endswith(f"intact; SHA-256 {digest}")
    assert done.output.splitlines()[-1] == "papers v1, created 2026-01-01 00:00:00 UTC: intact"


def test_without_an_expected_digest_the_manifest_is_reported_as_not_checked(store: ObjectStore, digest: str) -> None:
    done = verified(store)

    assert done.exit_code == 0
    assert line(done, MANIFEST).endswith(f"not checked (give --manifest-sha256); SHA-256 {digest}")
    last = done.output.splitlines()[-1]
    assert "the manifest itself was not checked" in last
    assert "intact" not in last


def test_each_missing_or_altered_file_is_reported(store: ObjectStore, digest: str) -> None:
    content = store.read(GRAPH)
    store.write(GRAPH, content[:-1] + b"!")
    store.delete(TOKENIZER)

    done = verified(store, f"--manifest-sha256={digest}")

    assert done.exit_code == 65
    assert "ALTERED: its SHA-256 is" in line(done, GRAPH)
    assert line(done, TOKENIZER).endswith("MISSING")
    assert done.output.endswith("2 of 3 files are missing or altered\n")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(lambda content: content[:9], "CUT OR ALTERED", id="cut"),
        pytest.param(lambda content: content + b"!", "ALTERED: it has more than", id="longer"),
    ],
)
def test_a_file_of_another_size_is_reported(store: ObjectStore, digest: str, harm: object, said: str) -> None:
    store.write(GRAPH, harm(store.read(GRAPH)))  # type: ignore[operator]

    assert said in line(verified(store), GRAPH)


def test_another_manifest_is_refused_before_the_files_are_read(store: ObjectStore, digest: str) -> None:
    fields = json.loads(store.read(MANIFEST))
    store.write(MANIFEST, json.dumps(fields | {"labels": fields["labels"][::-1]}).encode())

    done = verified(store, f"--manifest-sha256={digest}")

    assert done.exit_code == 65
    assert f"expected {digest}" in done.output
    assert GRAPH not in done.output


def test_a_file_of_another_attempt_is_reported_and_harmless(store: ObjectStore, tmp_path: Path) -> None:
    store.write(GRAPH, b"of another attempt")
    folder = make_version(tmp_path / "made")
    publish(folder, read_manifest(folder), store)

    done = verified(store)

    assert done.exit_code == 0, done.output
    assert "left by another attempt" in line(done, f"{GRAPH} ")
    assert line(done, "model-").endswith("intact")


def test_a_missing_version_is_reported(store: ObjectStore) -> None:
    done = verified(store)

    assert done.exit_code == 65
    assert "is not a published version" in done.output


def test_an_address_of_no_storage_is_refused() -> None:
    assert CliRunner().invoke(verify, ["gs://bucket/v1"]).exit_code == 64
