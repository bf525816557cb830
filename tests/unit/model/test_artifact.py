"""A version: whole or not there, and never changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model.artifact import GRAPH, MANIFEST, TOKENIZER, ArtifactRejected, fetch, publish, read_manifest, verify
from model.storage import ObjectExists, ObjectStore, StorageError, open_store
from tests.versions import make_version


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        bucket: str = request.getfixturevalue("s3_bucket")
        return open_store(bucket + "papers/v1/")
    return open_store(str(tmp_path / "store" / "papers" / "v1"))


def published(tmp_path: Path, store: ObjectStore) -> str:
    folder = make_version(tmp_path / "made")
    return publish(folder, read_manifest(folder), store)


def test_a_published_version_is_fetched_as_it_was_made(store: ObjectStore, tmp_path: Path) -> None:
    folder = fetch(published(tmp_path, store), tmp_path / "scratch")

    for name in (GRAPH, TOKENIZER, MANIFEST):
        assert (folder / name).read_bytes() == (tmp_path / "made" / name).read_bytes()


def test_a_version_holds_its_files_and_the_manifest(store: ObjectStore, tmp_path: Path) -> None:
    uri = published(tmp_path, store)

    assert uri == store.uri
    assert [each.key for each in store.list()] == [MANIFEST, GRAPH, TOKENIZER]


def test_publishing_twice_is_refused_and_changes_nothing(store: ObjectStore, tmp_path: Path) -> None:
    published(tmp_path, store)
    before = {each.key: store.read(each.key) for each in store.list()}
    other = make_version(tmp_path / "other", labels=("x", "y"))

    with pytest.raises(ObjectExists, match="a version never changes"):
        publish(other, read_manifest(other), store)

    assert {each.key: store.read(each.key) for each in store.list()} == before


def test_a_longer_neighbour_is_another_version(store: ObjectStore, tmp_path: Path) -> None:
    neighbour = open_store(store.uri.rstrip("/") + "0/")
    published(tmp_path, neighbour)

    published(tmp_path, store)

    assert len(list(store.list())) == 3


def test_what_is_not_published_is_not_fetched(store: ObjectStore, tmp_path: Path) -> None:
    folder = make_version(tmp_path / "made")
    store.upload(folder / GRAPH, GRAPH)

    with pytest.raises(ArtifactRejected, match="is not a published version"):
        fetch(store.uri, tmp_path / "scratch")


def halve(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(halve, "it was altered or cut", id="cut"),
        pytest.param(flip, "it was altered", id="one-bit-altered"),
    ],
)
def test_a_harmed_file_is_refused_by_name(
    store: ObjectStore, tmp_path: Path, name: str, harm: Callable[[bytes], bytes], said: str
) -> None:
    published(tmp_path, store)
    store.write(name, harm(store.read(name)))

    with pytest.raises(ArtifactRejected, match=said) as refused:
        fetch(store.uri, tmp_path / "scratch")

    assert name in str(refused.value)


def test_a_missing_file_is_refused_by_name(store: ObjectStore, tmp_path: Path) -> None:
    published(tmp_path, store)
    store.delete(TOKENIZER)

    with pytest.raises(ArtifactRejected, match=TOKENIZER):
        fetch(store.uri, tmp_path / "scratch")


def test_a_manifest_cannot_have_files_written_elsewhere(store: ObjectStore, tmp_path: Path) -> None:
    published(tmp_path, store)
    fields = json.loads(store.read(MANIFEST))
    fields["files"]["../escaped"] = fields["files"][GRAPH]
    store.write(MANIFEST, json.dumps(fields).encode())

    with pytest.raises(ArtifactRejected, match="which is not a plain file name"):
        fetch(store.uri, tmp_path / "scratch")

    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER])
def test_a_manifest_must_name_what_every_version_has(tmp_path: Path, name: str) -> None:
    folder = make_version(tmp_path / "made")
    fields = json.loads((folder / MANIFEST).read_text())
    del fields["files"][name]
    (folder / MANIFEST).write_text(json.dumps(fields))

    with pytest.raises(ArtifactRejected, match=f"files has no {name}"):
        verify(folder)


@pytest.mark.parametrize("name", [MANIFEST, GRAPH])
def test_a_folder_in_a_files_place_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = make_version(tmp_path / "made")
    (folder / name).unlink()
    (folder / name).mkdir()

    with pytest.raises(ArtifactRejected, match=f"{name} cannot be read: Is a directory"):
        verify(folder)


# Publishes, and is killed by the operating system before the `die_at`th object is begun.
PUBLISH_AND_DIE = """
import os, signal, sys
from pathlib import Path
from model.artifact import publish, read_manifest
from model.storage import open_store

store, folder, left = open_store(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def dying(put):
    def put_or_die(*arguments, **options):
        global left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        put(*arguments, **options)
    return put_or_die

store.upload, store.write = dying(store.upload), dying(store.write)
publish(folder, read_manifest(folder), store)
"""

# Publishes, and is killed with half of the first file written.
PUBLISH_AND_DIE_WITHIN_A_FILE = """
import os, shutil, signal, sys
from pathlib import Path
from model.artifact import publish, read_manifest
from model.storage import open_store

def half_a_copy(source, target):
    content = Path(source).read_bytes()
    Path(target).write_bytes(content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

shutil.copyfile = half_a_copy
publish(Path(sys.argv[2]), read_manifest(Path(sys.argv[2])), open_store(sys.argv[1]))
"""

# Publishes where no file may grow beyond 1,000 bytes: what a full disk does, without filling one.
PUBLISH_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from model.artifact import publish, read_manifest
from model.storage import StorageUnavailable, open_store

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    publish(Path(sys.argv[2]), read_manifest(Path(sys.argv[2])), open_store(sys.argv[1]))
except StorageUnavailable as error:
    sys.exit(str(error))
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=90)


def assert_absent_and_publishable(store: ObjectStore, folder: Path, scratch: Path) -> None:
    with pytest.raises(ArtifactRejected, match="is not a published version"):
        fetch(store.uri, scratch)
    publish(folder, read_manifest(folder), store)
    verify(fetch(store.uri, scratch))


@pytest.mark.parametrize("die_at", [pytest.param(at, id=f"after-{at}-objects") for at in range(3)])
def test_a_publisher_killed_between_objects_leaves_no_version(store: ObjectStore, tmp_path: Path, die_at: int) -> None:
    folder = make_version(tmp_path / "made")

    died = run(PUBLISH_AND_DIE, store.uri, str(folder), str(die_at))

    assert died.returncode == -signal.SIGKILL
    assert len(list(store.list())) == die_at
    assert_absent_and_publishable(store, folder, tmp_path / "scratch")


def test_a_publisher_killed_within_a_file_leaves_no_version(tmp_path: Path) -> None:
    folder, store = make_version(tmp_path / "made"), open_store(str(tmp_path / "store"))

    died = run(PUBLISH_AND_DIE_WITHIN_A_FILE, store.uri, str(folder))

    assert died.returncode == -signal.SIGKILL
    assert list(store.list()) == []
    assert_absent_and_publishable(store, folder, tmp_path / "scratch")


def test_a_full_disk_leaves_no_version(tmp_path: Path) -> None:
    folder, store = (
        make_version(tmp_path / "made", labels=[f"label{at}" for at in range(200)]),
        open_store(str(tmp_path / "store")),
    )

    failed = run(PUBLISH_WITHOUT_ROOM, store.uri, str(folder))

    assert failed.returncode == 1
    assert failed.stderr.endswith("File too large\n")
    assert_absent_and_publishable(store, folder, tmp_path / "scratch")


def test_of_two_publishers_at_once_one_wins(store: ObjectStore, tmp_path: Path) -> None:
    folder = make_version(tmp_path / "made")
    script = PUBLISH_AND_DIE.replace("os.kill(os.getpid(), signal.SIGKILL)", "pass").replace("left -= 1", "pass")
    command = [sys.executable, "-c", script, store.uri, str(folder), "9"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    said = [each.communicate(timeout=90)[1] for each in both]

    assert sorted(each.returncode for each in both) == [0, 1]
    assert "ObjectExists" in "".join(said)
    verify(fetch(store.uri, tmp_path / "scratch"))


@pytest.mark.parametrize("uri", [pytest.param("https://example.com/v1", id="https"), pytest.param("", id="empty")])
def test_an_address_of_no_store_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        fetch(uri, tmp_path)
