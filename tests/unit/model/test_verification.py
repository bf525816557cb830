"""What `labelwright verify` says of a version."""

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
    """Of the manifest of a version that lies there."""
    folder = make_version(tmp_path / "made")
    return publish(folder, read_manifest(folder), store).manifest_sha256


def verified(store: ObjectStore, *options: str) -> Result:
    return CliRunner().invoke(verify, [store.uri, *options])


def line(done: Result, name: str) -> str:
    return next(each for each in done.output.splitlines() if each.startswith(name))


def test_a_whole_version_is_said_to_be_whole(store: ObjectStore, digest: str) -> None:
    done = verified(store, f"--manifest-sha256={digest}")

    assert done.exit_code == 0, done.output
    assert [line(done, each).rstrip()[-5:] for each in (GRAPH, TOKENIZER)] == ["whole", "whole"]
    assert line(done, MANIFEST).endswith(f"whole; SHA-256 {digest}")
    assert done.output.splitlines()[-1] == "papers v1, made 2026-01-01 00:00:00 UTC: whole"


def test_a_manifest_that_nothing_vouches_for_is_not_said_to_be_whole(store: ObjectStore, digest: str) -> None:
    done = verified(store)

    assert done.exit_code == 0
    assert line(done, MANIFEST).endswith(f"not compared with anything (--manifest-sha256 does); SHA-256 {digest}")
    last = done.output.splitlines()[-1]
    assert "the manifest itself was compared with nothing" in last
    assert "whole" not in last


def test_each_file_that_is_not_whole_is_told(store: ObjectStore, digest: str) -> None:
    content = store.read(GRAPH)
    store.write(GRAPH, content[:-1] + b"!")
    store.delete(TOKENIZER)

    done = verified(store, f"--manifest-sha256={digest}")

    assert done.exit_code == 65
    assert "ALTERED: its SHA-256 is" in line(done, GRAPH)
    assert line(done, TOKENIZER).endswith("MISSING")
    assert done.output.endswith("2 of 3 files are not as they were published\n")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(lambda content: content[:9], "CUT OR ALTERED", id="cut"),
        pytest.param(lambda content: content + b"!", "ALTERED: it has more than", id="longer"),
    ],
)
def test_a_file_of_another_size_is_told(store: ObjectStore, digest: str, harm: object, said: str) -> None:
    store.write(GRAPH, harm(store.read(GRAPH)))  # type: ignore[operator]

    assert said in line(verified(store), GRAPH)


def test_another_manifest_is_refused_before_the_files_are_read(store: ObjectStore, digest: str) -> None:
    fields = json.loads(store.read(MANIFEST))
    store.write(MANIFEST, json.dumps(fields | {"labels": fields["labels"][::-1]}).encode())

    done = verified(store, f"--manifest-sha256={digest}")

    assert done.exit_code == 65
    assert f"expected {digest}" in done.output
    assert GRAPH not in done.output


def test_what_another_attempt_left_is_told_and_does_no_harm(store: ObjectStore, tmp_path: Path) -> None:
    store.write(GRAPH, b"of another attempt")
    folder = make_version(tmp_path / "made")
    publish(folder, read_manifest(folder), store)

    done = verified(store)

    assert done.exit_code == 0, done.output
    assert "another attempt has left it" in line(done, f"{GRAPH} ")
    assert line(done, "model-").endswith("whole")


def test_where_nothing_is_published_it_says_so(store: ObjectStore) -> None:
    done = verified(store)

    assert done.exit_code == 65
    assert "is not a published version" in done.output


def test_an_address_of_no_storage_is_refused() -> None:
    assert CliRunner().invoke(verify, ["gs://bucket/v1"]).exit_code == 64
