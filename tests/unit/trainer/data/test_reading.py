"""Every kind of file and address gives the same examples."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import socket
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import boto3
import polars as pl
import pytest
from backports import zstd
from moto.server import ThreadedMotoServer

from model.manifest import Task
from model.storage import StorageRejected, StorageUnavailable, open_store
from tests.support.reading import labels_of, read
from trainer.config.settings import DatasetConfig
from trainer.data.download import fingerprint
from trainer.data.reading import DatasetRejected, read_aligned, read_examples, read_test_examples

Rows = Sequence[Mapping[str, object]]

ROWS = [
    {"title": f"On {animal}", "abstract": f"What {animal} eat, number {index}.", "categories": labels}
    for index in range(4)
    for animal, labels in [("cats", "pets"), ("cows", "farm"), ("dogs", "farm pets")]
]
LISTS = [{**row, "categories": row["categories"].split()} for row in ROWS]
TEXTS = [f"{row['title']}\n{row['abstract']}" for row in ROWS]
LABELS = [set(row["categories"].split()) for row in ROWS]


@pytest.fixture
def s3_with_users(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket with the rows, in a server that checks who asks; the environment holds a user's credentials."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    for name, value in (
        ("ENDPOINT_URL", endpoint),
        ("ACCESS_KEY_ID", "a"),
        ("SECRET_ACCESS_KEY", "b"),
        ("DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    try:
        for name, value in allowed_user(endpoint).items():
            monkeypatch.setenv(name, value)
        open_store("s3://guarded/").write("rows.jsonl", as_lines(ROWS))
        yield "s3://guarded/"
    finally:
        check_from(endpoint, "inf")
        server.stop()


def allowed_user(endpoint: str) -> dict[str, str]:
    """The credentials of a new user who may do everything in S3, which checks them from now on."""
    check_from(endpoint, "inf")
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="guarded")
    iam = boto3.client("iam", endpoint_url=endpoint)
    name = f"user-{uuid.uuid4().hex[:12]}"  # what one server of moto knows, all of the process know
    iam.create_user(UserName=name)
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(allowed))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    check_from(endpoint, "0")
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def check_from(endpoint: str, requests: str) -> None:
    """Credentials are checked after so many requests more; the setting is the whole process's."""
    asked = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth", data=requests.encode(), headers={"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(asked, timeout=10).close()


def as_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_csv(separator: str) -> bytes:
    return pl.DataFrame(ROWS).write_csv(separator=separator).encode()


def as_parquet(folder: Path, rows: Rows) -> bytes:
    pl.DataFrame(rows).write_parquet(folder / "made")
    return (folder / "made").read_bytes()


PLAIN: dict[str, Callable[[Path], bytes]] = {
    "rows.parquet": lambda folder: as_parquet(folder, ROWS),
    "lists.parquet": lambda folder: as_parquet(folder, LISTS),
    "rows.csv": lambda _: as_csv(","),
    "ROWS.CSV": lambda _: as_csv(","),
    "rows.tsv": lambda _: as_csv("\t"),
    "rows.jsonl": lambda _: as_lines(ROWS),
    "rows.ndjson": lambda _: as_lines(ROWS),
    "rows.json": lambda _: as_lines(ROWS),
    "lists.jsonl": lambda _: as_lines(LISTS),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
EVERY_KIND = [
    pytest.param(name, ending, id=name + ending)
    for name in PLAIN
    for ending in PACKED
    if not ending or not name.endswith(".parquet")
]


@pytest.mark.parametrize(("name", "ending"), EVERY_KIND)
def test_every_format_and_compression_gives_the_same_examples(name: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / (name + ending)
    path.write_bytes(PACKED[ending](PLAIN[name](tmp_path)))

    loaded = read(path)

    assert loaded.examples.texts() == TEXTS
    assert labels_of(loaded) == LABELS
    assert loaded.examples.task is Task.MULTI_LABEL
    assert loaded.facts.rows == len(ROWS)
    assert loaded.facts.columns == ("title", "abstract", "categories")
    assert loaded.facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.notes == ()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The rows in two files, among what such folders also hold."""
    made = tmp_path / "data"
    for name, rows in [("a/part-1.jsonl", ROWS[:5]), ("b/part-0.jsonl", ROWS[5:])]:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(as_lines(rows))
    for name in ("_SUCCESS", ".hidden.jsonl", "_delta_log/0.json", ".cache/x.csv"):
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_text("not data")
    return made


@pytest.mark.parametrize("pattern", ["", "/", "/*/*.jsonl", "/**/*.jsonl", "/**/part-*"])
def test_a_folder_or_a_glob_is_all_its_files_by_name(folder: Path, pattern: str) -> None:
    loaded = read(folder, uri=folder.as_uri() + pattern)

    assert loaded.examples.texts() == TEXTS
    content = (folder / "a/part-1.jsonl").read_bytes() + (folder / "b/part-0.jsonl").read_bytes()
    assert loaded.facts.sha256 == hashlib.sha256(content).hexdigest()


def test_a_plain_path_is_an_address_too(folder: Path) -> None:
    assert read(folder, uri=str(folder)).examples.texts() == TEXTS


def test_a_name_with_blanks_and_signs_is_found(tmp_path: Path) -> None:
    path = tmp_path / "my [data] 100%.csv"
    path.write_bytes(as_csv(","))

    assert read(path).examples.texts() == TEXTS


def test_files_that_are_no_data_are_left_out_and_named(folder: Path) -> None:
    (folder / "README.md").write_text("# Data")
    (folder / "c.jsonl").touch()

    notes = read(folder).notes

    assert any("README.md" in note for note in notes)
    assert any("empty" in note and "c.jsonl" in note for note in notes)


@pytest.mark.parametrize("pattern", ["data", "data/", "data/*/part-*.jsonl", "data/**/*.jsonl"])
def test_objects_of_s3_are_read_like_files(folder: Path, s3_bucket: str, pattern: str) -> None:
    store = open_store(s3_bucket)
    for path in folder.rglob("*"):
        if path.is_file():
            store.upload(path, f"data/{path.relative_to(folder).as_posix()}")
    store.write("data-of-others/x.jsonl", as_lines(ROWS))

    loaded = read(folder, uri=s3_bucket + pattern)

    assert loaded.examples.texts() == TEXTS
    assert loaded.facts.sha256 == read(folder).facts.sha256


def test_one_object_of_s3_is_not_its_longer_neighbours(folder: Path, s3_bucket: str) -> None:
    open_store(s3_bucket).write("rows.jsonl", as_lines(ROWS))
    open_store(s3_bucket).write("rows.jsonl.jsonl", as_lines(ROWS))

    assert read(folder, uri=f"{s3_bucket}rows.jsonl").facts.rows == len(ROWS)


def test_nothing_at_an_address_is_the_datasets_fault(folder: Path, s3_bucket: str) -> None:
    with pytest.raises(DatasetRejected, match="there is no file"):
        read(folder, uri=f"{s3_bucket}nothing/")
    with pytest.raises(DatasetRejected, match="there is no file"):
        read(folder, uri=folder.as_uri() + "/*.parquet")


@pytest.mark.parametrize("uri", ["s3://no-such-bucket-anywhere/x", "http://example.org/x.csv"])
def test_a_wrong_address_is_the_callers_fault(uri: str, folder: Path, s3_bucket: str) -> None:
    with pytest.raises(StorageRejected):
        read(folder, uri=uri)


def test_a_bucket_that_is_not_there_is_named_with_its_setting(folder: Path, s3_bucket: str) -> None:
    with pytest.raises(StorageRejected, match=r"^dataset\.uri: s3://no-such-bucket-anywhere/.*: there is no such bucket$"):
        read(folder, uri="s3://no-such-bucket-anywhere/rows.jsonl")


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        pytest.param("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId", id="unknown-key"),
        pytest.param("AWS_SECRET_ACCESS_KEY", "guessed", "SignatureDoesNotMatch", id="wrong-secret"),
    ],
)
def test_wrong_credentials_are_the_callers_fault(
    variable: str, value: str, code: str, folder: Path, s3_with_users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(folder, uri=s3_with_users + "rows.jsonl").facts.rows == len(ROWS)
    monkeypatch.setenv(variable, value)

    with pytest.raises(StorageRejected, match=rf"^dataset\.uri: {s3_with_users}.*{code}") as refused:
        read(folder, uri=s3_with_users + "rows.jsonl")

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["one//rows.jsonl", "two/a//b/rows.jsonl"])
def test_a_key_with_two_slashes_is_a_key_like_others(key: str, s3_with_users: str, folder: Path, tmp_path: Path) -> None:
    open_store(s3_with_users).write(key, as_lines(ROWS))

    for uri in (s3_with_users + key, s3_with_users + key[:4], s3_with_users + key[:3], f"{s3_with_users}{key[:4]}**/*.jsonl"):
        found = read(folder, uri=uri)
        assert found.examples.texts() == TEXTS, uri
        assert fingerprint(uri, scratch=tmp_path) == found.facts.sha256, uri


@pytest.mark.parametrize("answers", [True, False], ids=["refuses", "accepts-and-closes"])
def test_a_storage_that_does_not_answer_may_do_so_later(
    answers: bool, folder: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        if answers:
            server.close()
        else:
            threading.Thread(target=hang_up_on_all, args=(server,), daemon=True).start()

        with pytest.raises(StorageUnavailable, match=s3_bucket) as away:
            read(folder, uri=s3_bucket + "rows.jsonl")

    assert "\n" not in str(away.value)


def hang_up_on_all(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


def test_a_sample_is_random_but_the_same_for_a_seed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(as_csv(","))

    some = [read(path, sample_count=9).examples.rows.tolist() for _ in range(2)]

    assert some[0] == some[1] == sorted(some[0])
    assert len(some[0]) == 9


def test_test_examples_keep_the_labels_and_order_of_the_training_part(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_bytes(as_lines(ROWS))
    strange = [
        {"title": "Owls", "abstract": "They hunt.", "categories": "birds"},
        {"title": "Hens", "abstract": "They lay.", "categories": "birds farm"},
        {"title": "", "abstract": "", "categories": "farm"},
    ]
    test.write_bytes(as_lines(strange))
    config = DatasetConfig(uri=str(train), test_uri=str(test))
    like = read_examples(config, scratch=tmp_path, seed=0).examples

    loaded = read_test_examples(config, like=like, scratch=tmp_path)

    assert loaded.examples.labels == ("farm", "pets")
    assert labels_of(loaded) == [set(), {"farm"}]
    assert loaded.examples.texts() == ["Owls\nThey hunt.", "Hens\nThey lay."]
    assert "1 row without text was set aside" in loaded.notes
    assert loaded.notes[-1] == (
        "1 label that the training part lacks was left out: birds (2); the rows stay, and in the 1 row that has no other label "
        "every prediction counts as wrong"
    )


def test_the_setting_of_a_test_set_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(as_lines(ROWS))
    config = DatasetConfig(uri=str(tmp_path / "train.jsonl"), test_uri=str(tmp_path / "nope.csv"))
    like = read_examples(config, scratch=tmp_path, seed=0).examples

    with pytest.raises(DatasetRejected, match=r"^dataset\.test_uri '.*nope\.csv': there is no file$"):
        read_test_examples(config, like=like, scratch=tmp_path)


def test_aligned_examples_need_a_known_label(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_lines(ROWS))
    config = DatasetConfig(uri=str(path))

    with pytest.raises(DatasetRejected, match=r"none of its labels .* is one of the classifier's, such as 'x'"):
        read_aligned(config, str(path), labels=("x", "y"), task=Task.MULTI_LABEL, label_required=True, scratch=tmp_path)
    with pytest.raises(DatasetRejected, match="a row has several labels, and the classifier gives one"):
        read_aligned(config, str(path), labels=("farm", "pets"), task=Task.SINGLE_LABEL, label_required=True, scratch=tmp_path)
