"""A version: whole or not there, and never changed."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from model.artifact import (
    GRAPH,
    MANIFEST,
    TOKENIZER,
    ArtifactRejected,
    fetch,
    name_by_content,
    publish,
    read_manifest,
    read_published,
    verify,
)
from model.classifier import Classifier
from model.storage import ObjectExists, ObjectStore, StorageError, StorageRejected, open_store
from tests.support.versions import make_version


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        bucket: str = request.getfixturevalue("s3_bucket")
        return open_store(bucket + "papers/v1/")
    return open_store(str(tmp_path / "store" / "papers" / "v1"))


def published(tmp_path: Path, store: ObjectStore) -> str:
    folder = make_version(tmp_path / "made")
    return publish(folder, read_manifest(folder), store).uri


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


def test_a_published_version_tells_the_digest_of_its_manifest(store: ObjectStore, tmp_path: Path) -> None:
    folder = make_version(tmp_path / "made")

    done = publish(folder, read_manifest(folder), store)

    assert done.manifest_sha256 == hashlib.sha256(store.read(MANIFEST)).hexdigest()
    assert done == read_published(store)


def swap_the_labels(store: ObjectStore) -> None:
    """In the manifest, which nothing but its own digest vouches for."""
    fields = json.loads(store.read(MANIFEST))
    fields["labels"].reverse()
    store.write(MANIFEST, json.dumps(fields).encode())


def test_another_manifest_than_the_published_one_is_refused_with_both_digests(store: ObjectStore, tmp_path: Path) -> None:
    folder = make_version(tmp_path / "made")
    digest = publish(folder, read_manifest(folder), store).manifest_sha256
    fetch(store.uri, tmp_path / "scratch", manifest_sha256=digest)
    swap_the_labels(store)
    fetch(store.uri, tmp_path / "scratch")  # it is a manifest like any other

    with pytest.raises(ArtifactRejected, match="it is not the manifest that was published") as refused:
        fetch(store.uri, tmp_path / "scratch", manifest_sha256=digest)

    found = hashlib.sha256(store.read(MANIFEST)).hexdigest()
    assert f"manifest.json has SHA-256 {found}, expected {digest}: " in str(refused.value)


def test_no_more_of_a_file_is_fetched_than_the_manifest_says(s3_bucket: str, tmp_path: Path) -> None:
    store = open_store(s3_bucket + "papers/v1/")
    published(tmp_path, store)
    store.write(GRAPH, bytes(20 * 2**20))

    with pytest.raises(ArtifactRejected, match=r"model.onnx has more bytes than \d+, the size in the manifest: it was altered"):
        fetch(store.uri, tmp_path / "scratch")

    assert not (tmp_path / "scratch" / GRAPH).exists()


def leave(store: ObjectStore, content: bytes, *names: str) -> None:
    """Leave objects as an interrupted attempt does."""
    for name in names:
        store.write(name, content)


def test_what_an_interrupted_attempt_left_of_other_bytes_is_neither_used_nor_touched(store: ObjectStore, tmp_path: Path) -> None:
    leave(store, b"of another attempt", GRAPH)
    made = make_version(tmp_path / "made")

    done = publish(made, read_manifest(made), store)

    assert done.manifest.stored(TOKENIZER) == TOKENIZER
    assert done.manifest.stored(GRAPH) == f"model-{done.manifest.files[GRAPH].sha256[:16]}.onnx"
    assert store.read(GRAPH) == b"of another attempt"
    folder = fetch(store.uri, tmp_path / "scratch", manifest_sha256=done.manifest_sha256)
    assert Classifier.load(folder).predict(["cs.LG"])[0].labels == ("cs.LG",)


def test_a_copy_of_all_files_can_be_loaded(store: ObjectStore, tmp_path: Path) -> None:
    leave(store, b"of another attempt", GRAPH, TOKENIZER)
    published(tmp_path, store)
    copied = tmp_path / "copied"
    for each in store.list():  # as KServe's storage initializer copies it
        store.download(each.key, copied / each.key)

    assert Classifier.load(copied).predict(["math.CO"])[0].labels == ("math.CO",)


def test_a_file_that_does_not_hold_what_its_name_tells_is_not_published_with(store: ObjectStore, tmp_path: Path) -> None:
    made = make_version(tmp_path / "made")
    manifest = read_manifest(made)
    leave(store, b"altered", GRAPH, name_by_content(GRAPH, manifest.files[GRAPH].sha256))

    with pytest.raises(StorageRejected, match="does not have the content that its name says"):
        publish(made, manifest, store)


STEPS = ("list", "upload", "stream", "write")  # what a publisher asks its store for


class Publisher(threading.Thread):
    """Publishes a folder a step at a time: before each, it waits to be let go on."""

    def __init__(self, folder: Path, uri: str) -> None:
        super().__init__(daemon=True)
        self.folder, self.store = folder, open_store(uri)
        self.go, self.stands = threading.Semaphore(0), threading.Semaphore(0)
        self.error: Exception | None = None
        for name in STEPS:
            setattr(self.store, name, self._stepping(getattr(self.store, name)))

    def _stepping(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            self.stands.release()
            self.go.acquire()
            found = act(*arguments, **options)
            return found if found is None else iter(list(found))

        return step

    def run(self) -> None:
        try:
            publish(self.folder, read_manifest(self.folder), self.store)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        self.over = True
        self.stands.release()

    over = False

    def begin(self) -> None:
        self.start()
        self.stands.acquire()

    def step(self) -> None:
        if not self.over:
            self.go.release()
            self.stands.acquire()

    def finish(self) -> None:
        while not self.over:
            self.step()


def interleavings(one: int, other: int) -> Iterable[str]:
    """Yield the orders in which two publishers with these numbers of steps can take turns."""
    for turns in itertools.combinations(range(one + other), one):
        yield "".join("A" if at in turns else "B" for at in range(one + other))


def race(uri: str, folders: tuple[Path, Path], turns: str, scratch: Path) -> str:
    """Publish both in this order; which one won. Fails unless the winner's version is whole."""
    both = {name: Publisher(folder, uri) for name, folder in zip("AB", folders, strict=True)}
    for each in both.values():
        each.begin()
    for name in turns:
        both[name].step()
    for each in both.values():
        each.finish()
    (winner,) = [name for name, each in both.items() if each.error is None]
    (loser,) = [each for each in both.values() if each.error is not None]
    assert isinstance(loser.error, ObjectExists), loser.error
    folder = fetch(uri, scratch)
    assert read_manifest(folder).labels == read_manifest(both[winner].folder).labels
    return winner


def two_versions(folder: Path) -> tuple[Path, Path]:
    return make_version(folder / "one", labels=("a", "b")), make_version(folder / "other", labels=("x", "y"))


def test_of_two_publishers_one_wins_and_its_version_is_whole_in_whatever_order_they_take_turns(tmp_path: Path) -> None:
    folders, won = two_versions(tmp_path), set()

    for turns in interleavings(4, 4):  # more steps than these are taken one after the other
        won.add(race(str(tmp_path / "store" / turns), folders, turns, tmp_path / "scratch" / turns))

    assert won == {"A", "B"}


def test_of_two_publishers_to_a_bucket_one_wins_and_its_version_is_whole_whenever_the_other_comes(
    s3_bucket: str, tmp_path: Path
) -> None:
    folders, won = two_versions(tmp_path), []

    for before in range(5):
        turns = "A" * before + "B" * 9
        won.append(race(f"{s3_bucket}{before}/", folders, turns, tmp_path / "scratch" / turns))

    assert won == ["B", "B", "B", "B", "A"]


@pytest.mark.parametrize("uri", [pytest.param("https://example.com/v1", id="https"), pytest.param("", id="empty")])
def test_an_address_of_no_store_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        fetch(uri, tmp_path)
