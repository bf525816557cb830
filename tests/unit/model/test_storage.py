"""Object storage: a folder and a bucket behave alike."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from model.storage import (
    PART_PREFIX,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    ObjectTooLarge,
    StorageRejected,
    StorageUnavailable,
    StoredObject,
    open_store,
)
from tests.support.broken_s3 import broken_s3


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        bucket: str = request.getfixturevalue("s3_bucket")
        return open_store(bucket + "some/prefix")
    return open_store((tmp_path / "some folder").as_uri())


def test_what_was_written_is_read(store: ObjectStore) -> None:
    store.write("a/b.txt", b"content")

    assert store.read("a/b.txt") == b"content"


def test_a_second_write_replaces_the_first(store: ObjectStore) -> None:
    store.write("a", b"first, and longer")
    store.write("a", b"second")

    assert store.read("a") == b"second"


def test_a_new_object_is_written_once(store: ObjectStore) -> None:
    store.write("a", b"first", new=True)

    with pytest.raises(ObjectExists, match="exists already"):
        store.write("a", b"second", new=True)
    assert store.read("a") == b"first"


def test_files_go_up_and_come_down_unaltered(store: ObjectStore, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "up").write_bytes(content)
    store.upload(tmp_path / "up", "deep/down.bin")
    store.download("deep/down.bin", tmp_path / "new folder" / "down")

    assert (tmp_path / "new folder" / "down").read_bytes() == content


def test_listing_is_by_prefix_and_in_order(store: ObjectStore) -> None:
    for key in ("b/2", "b/10", "bb", "a", "b/empty"):
        store.write(key, b"" if key == "b/empty" else b"xyz")

    assert list(store.list("b/")) == [StoredObject("b/10", 3), StoredObject("b/2", 3), StoredObject("b/empty", 0)]
    assert [each.key for each in store.list()] == ["a", "b/10", "b/2", "b/empty", "bb"]


def test_listing_an_empty_store_gives_nothing(store: ObjectStore) -> None:
    assert list(store.list()) == []


def test_a_missing_object_is_named(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing) as missing:
        store.read("nothing")
    with pytest.raises(ObjectMissing):
        store.download("nothing", tmp_path / "to")

    assert str(missing.value) == f"{store.uri}nothing does not exist"


def test_deleting_twice_is_no_error(store: ObjectStore) -> None:
    store.write("a", b"content")
    store.delete("a")
    store.delete("a")

    assert list(store.list()) == []


@pytest.mark.parametrize(
    "key",
    [pytest.param("../a", id="climbing"), pytest.param("a/../../b", id="climbing-later"), pytest.param("/a", id="absolute")],
)
def test_a_key_cannot_leave_the_store(store: ObjectStore, key: str) -> None:
    with pytest.raises(StorageRejected, match="is outside of"):
        store.write(key, b"content")
    with pytest.raises(StorageRejected, match="is outside of"):
        store.read(key)


def test_an_uri_ends_in_a_slash_and_opens_the_same_store(store: ObjectStore) -> None:
    store.write("a", b"content")

    assert store.uri.endswith("/")
    assert open_store(store.uri).read("a") == b"content"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        pytest.param("gs://bucket/x", "expected s3://bucket/prefix/, file:///folder/ or a path", id="unknown-scheme"),
        pytest.param("s3:///x", "names no bucket", id="no-bucket"),
        pytest.param("file://host/x", "names the host 'host'", id="two-slashes"),
        pytest.param("", "expected s3://", id="empty"),
    ],
)
def test_a_wrong_address_is_refused(uri: str, said: str) -> None:
    with pytest.raises(StorageRejected, match=said):
        open_store(uri)


def test_a_missing_bucket_is_no_missing_object(s3_bucket: str) -> None:
    with pytest.raises(StorageRejected, match="there is no such bucket"):
        list(open_store("s3://no-such-bucket-at-all/x").list())


def test_no_credentials_are_reported_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")

    with pytest.raises(StorageRejected, match="credentials"):
        open_store("s3://bucket/x").read("a")


FILL = """
import resource, sys
from pathlib import Path
from model.storage import StorageUnavailable, open_store
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = open_store(sys.argv[1])
for write in (lambda: store.write("a", bytes(200_000)), lambda: store.upload(Path(sys.argv[2]), "a")):
    try:
        write()
    except StorageUnavailable as error:
        print(error)
"""


def test_a_write_that_finds_no_room_leaves_the_object_as_it_was(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.write("a", b"before")
    (tmp_path / "big").write_bytes(bytes(200_000))

    said = subprocess.run(
        [sys.executable, "-c", FILL, store.uri, str(tmp_path / "big")], capture_output=True, text=True, check=True
    )

    assert said.stdout.splitlines() == [f"{store.uri}a: File too large"] * 2
    assert store.read("a") == b"before"
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        pytest.param(errno.EROFS, StorageRejected, id="read-only"),
        pytest.param(errno.EACCES, StorageRejected, id="of-somebody-else"),
        pytest.param(errno.ENAMETOOLONG, StorageRejected, id="name-too-long"),
        pytest.param(errno.ENOTDIR, StorageRejected, id="below-a-file"),
        pytest.param(errno.ENOSPC, StorageUnavailable, id="full"),
        pytest.param(errno.EIO, StorageUnavailable, id="broken"),
    ],
)
def test_what_a_disk_says_decides_whether_trying_again_may_help(
    number: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number), "/somewhere")

    monkeypatch.setattr("tempfile.mkstemp", refuse)  # tests may run as root, whom no permission stops

    with pytest.raises(kind, match=os.strerror(number)) as failed:
        open_store(str(tmp_path)).write("a", b"content")
    assert type(failed.value) is kind


def test_a_full_disk_is_reported_as_something_that_may_pass(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("a", b"content")

    with pytest.raises(StorageUnavailable, match="No space left on device"):
        store.download("a", Path("/dev/full"))


def test_a_file_that_is_being_written_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / f"{PART_PREFIX}abc").write_bytes(b"half")

    assert list(open_store(str(tmp_path)).list()) == []


def test_a_folder_below_a_file_is_the_fault_of_who_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageRejected, match="is not a folder for files"):
        open_store((tmp_path / "file" / "models").as_uri()).write("key", b"content")


def test_an_endpoint_that_is_no_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "notaurl")
    with pytest.raises(StorageRejected, match=r"notaurl.*AWS_ENDPOINT_URL"):
        open_store("s3://bucket/").write("key", b"content")


def test_an_upload_that_is_to_be_new_leaves_what_is_there(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(b"first")
    (tmp_path / "second").write_bytes(b"second")
    store.upload(tmp_path / "first", "a", new=True)

    with pytest.raises(ObjectExists, match="exists already"):
        store.upload(tmp_path / "second", "a", new=True)
    assert store.read("a") == b"first"
    assert b"".join(store.stream("a")) == b"first"


@pytest.mark.parametrize("limit", [pytest.param(5, id="exactly-as-large"), pytest.param(6, id="smaller")])
def test_an_object_within_the_limit_is_read(store: ObjectStore, tmp_path: Path, limit: int) -> None:
    store.write("a", b"12345")
    store.download("a", tmp_path / "to", limit=limit)

    assert store.read("a", limit=limit) == (tmp_path / "to").read_bytes() == b"12345"


def test_an_object_beyond_the_limit_is_not_fetched(store: ObjectStore, tmp_path: Path) -> None:
    store.write("a", bytes(3 * 2**20))
    (tmp_path / "to").mkdir()

    with pytest.raises(ObjectTooLarge, match="a has more than 1,000 bytes"):
        store.read("a", limit=1000)
    with pytest.raises(ObjectTooLarge, match="a has more than 1,000 bytes"):
        store.download("a", tmp_path / "to" / "a", limit=1000)
    assert list((tmp_path / "to").iterdir()) == []


WRITE_AND_DIE = """
import os, shutil, signal, sys
from pathlib import Path
from model.storage import open_store

shutil.copyfile = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
open_store(sys.argv[1]).upload(Path(__file__ if "__file__" in globals() else sys.executable), "deep/a")
"""


def test_files_of_a_killed_writer_are_deleted_once_they_are_idle(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    subprocess.run([sys.executable, "-c", WRITE_AND_DIE, store.uri], check=False)
    (part,) = (tmp_path / "store" / "deep").iterdir()
    assert part.name.startswith(PART_PREFIX)

    store.tidy()
    assert part.exists()  # its writer may only be slow
    os.utime(part, (0, 0))
    store.tidy()

    assert not part.exists()


@pytest.fixture
def listing_bucket(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a store that lists unfinished uploads by any prefix, which MinIO does not: it deletes them by itself."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    boto3.client("s3").create_bucket(Bucket="uploads")
    yield "uploads"
    server.stop()


def unfinished(bucket: str) -> list[str]:
    return [each["Key"] for each in boto3.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", ())]


def test_an_upload_that_was_never_finished_is_aborted_below_the_uri_only(listing_bucket: str) -> None:
    store = open_store(f"s3://{listing_bucket}/papers/v1/")
    for key in ("papers/v1/model.onnx", "papers/v10/model.onnx"):
        boto3.client("s3").create_multipart_upload(Bucket=listing_bucket, Key=key)

    store.tidy(idle_seconds=1e9)
    assert len(unfinished(listing_bucket)) == 2  # they may go on; moto says of each that it was begun in 2010
    store.tidy()

    assert unfinished(listing_bucket) == ["papers/v10/model.onnx"]


def test_a_key_that_may_not_list_uploads_logs_a_warning(
    s3_bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with broken_s3(s3_server) as faults:
        faults.denied = lambda method, path: "uploads" in path
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.address)
        open_store(f"{s3_bucket}papers/").tidy()

    assert "unfinished multipart uploads could not be deleted" in caplog.text
    assert "AccessDenied" in caplog.text


def test_a_write_that_another_one_is_in_the_way_of_is_repeated(
    s3_bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with broken_s3(s3_server) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.address)
        store = open_store(s3_bucket)
        faults.conflicts = 2
        store.write("a", b"content", new=True)
        faults.conflicts = 1
        store.upload(tmp_path / "file", "b", new=True)

        assert store.read("a") == store.read("b") == b"content"


def test_a_write_that_others_are_in_the_way_of_all_the_time_may_be_tried_again(
    s3_bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.storage.s3.CONFLICT_PAUSES_SECONDS", (0.0, 0.0))
    with broken_s3(s3_server) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.address)
        faults.conflicts = 9
        with pytest.raises(StorageUnavailable, match="another write of it is in progress"):
            open_store(s3_bucket).write("a", b"content", new=True)

    assert faults.conflicts == 6


def test_a_write_whose_first_answer_was_lost_has_succeeded(
    s3_bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broken_s3(s3_server) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.address)
        faults.lost_answers = 1
        store = open_store(s3_bucket)
        store.write("a", b"content", new=True)
        assert store.read("a") == b"content"

    assert [each.split("?")[0].split("/")[-1] for each in faults.seen if each.startswith("PUT")] == ["a", "a"]


def test_a_write_whose_answer_was_lost_and_whose_repetition_was_in_conflict_has_succeeded(
    s3_bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.storage.s3.CONFLICT_PAUSES_SECONDS", (0.0, 0.0))
    with broken_s3(s3_server) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.address)
        store = open_store(s3_bucket)
        store.write("a", b"content")  # what the first try has written
        faults.conflicts = 1
        store.write("a", b"content", new=True)
        assert store.read("a") == b"content"


def test_a_write_whose_first_answer_was_lost_does_not_take_anothers_object_for_its_own(
    s3_bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broken_s3(s3_server) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.address)
        store = open_store(s3_bucket)
        store.write("a", b"anothers")
        faults.lost_answers = 1
        with pytest.raises(ObjectExists):
            store.write("a", b"content", new=True)
        assert store.read("a") == b"anothers"
