"""Files of corrections: which of them a run reads, and which are refused."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model.storage import StorageError, open_store
from tests.support.corrections import correction, store
from trainer.config.settings import Config
from trainer.corrections.reading import ReadCorrections, read_corrections
from trainer.corrections.snapshot import SNAPSHOT
from trainer.errors import ConfigRejected, DatasetRejected


def config_of(folder: Path | str, corrections: str, **settings: object) -> Config:
    given = {"name": "pets", "output_dir": f"{folder}/models", "dataset": {"uri": "any", "corrections": corrections}}
    return Config.model_validate(given | settings)


def read(folder: Path, corrections: str | None = None, **settings: object) -> ReadCorrections:
    return read_corrections(config_of(folder, corrections or str(folder / "feedback/pets"), **settings))


def test_every_file_below_the_folder_is_read_and_hashed_in_the_order_of_the_names(tmp_path: Path) -> None:
    files = [store(tmp_path, [correction(f"text {at}", "cats", at=86_400 * at)]) for at in range(3)]
    found = read(tmp_path)
    assert [each.text for each in found.in_force] == ["text 0", "text 1", "text 2"]
    assert (found.files, found.rows) == (3, 3)
    assert found.sha256 == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_corrections_are_read_from_s3(s3_bucket: str, tmp_path: Path) -> None:
    file = store(tmp_path, [correction("text", "cats")])
    key = file.relative_to(tmp_path).as_posix()
    open_store(s3_bucket).write(key, file.read_bytes())
    uri = f"{s3_bucket}feedback/pets"
    assert read(tmp_path, uri) == replace(read(tmp_path), uri=uri)
    assert read(tmp_path, f"{s3_bucket}feedback/pet").files == 0  # a prefix of the name is another folder
    with pytest.raises(StorageError, match="there is no such bucket"):
        read(tmp_path, "s3://no-such-bucket-at-all/feedback/")


@pytest.mark.parametrize("name", [".part-1.jsonl.gz", "_old/x-0000000000000000.jsonl.gz", "README.txt", "rows.csv"])
def test_hidden_files_and_files_with_another_ending_are_no_corrections(tmp_path: Path, name: str) -> None:
    file = store(tmp_path, [correction("text", "cats")]).parent / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"anything")
    assert read(tmp_path).files == 1


def cut(content: bytes) -> bytes:
    return content[:-10]


def altered(content: bytes) -> bytes:
    return content[:30] + bytes([content[30] ^ 1]) + content[31:]


def emptied(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("harm", [cut, altered, emptied])
def test_a_cut_or_altered_file_is_refused_by_its_name(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    store(tmp_path, [correction("one", "cats")])
    file = store(tmp_path, [correction("two", "cats", at=1)])
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(DatasetRejected) as refused:
        read(tmp_path)
    assert str(refused.value).startswith(f"dataset.corrections '{tmp_path}/feedback/pets': 2026/01/01/{file.name}: ")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        pytest.param("hf://owner/corrections", "dataset.corrections: 'hf://owner/corrections/': expected s3://", id="a-hub"),
        pytest.param("s3://", "dataset.corrections: ", id="no-bucket"),
        pytest.param("{file}", "a file: expected the folder of the files of corrections", id="a-file"),
    ],
)
def test_an_address_that_is_not_one_of_a_folder_is_refused(tmp_path: Path, address: str, message: str) -> None:
    file = store(tmp_path, [correction("text", "cats")])
    with pytest.raises(ConfigRejected) as refused:
        read(tmp_path, address.format(file=file))
    assert message in str(refused.value)


def test_a_version_that_was_begun_learns_the_files_of_then_and_leaves_later_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store(tmp_path, [correction("one", "cats")])
    first = read(tmp_path, version="v1")
    store(tmp_path, [correction("two", "cats", at=1)])
    assert read(tmp_path, version="v1") == first
    assert "1 file of corrections came after version v1 was begun, and wait" in caplog.text
    assert read(tmp_path, version="v2").files == 2
    assert read(tmp_path).files == 2


def test_from_scratch_a_version_learns_the_files_of_now(tmp_path: Path) -> None:
    read(tmp_path, version="v1")
    store(tmp_path, [correction("one", "cats")])
    assert read(tmp_path, version="v1").files == 0
    assert read(tmp_path, version="v1", training={"from_scratch": True}).files == 1


def test_a_file_that_is_gone_since_the_version_was_begun_is_named(tmp_path: Path) -> None:
    file = store(tmp_path, [correction("one", "cats")])
    read(tmp_path, version="v1")
    file.unlink()
    with pytest.raises(DatasetRejected) as refused:
        read(tmp_path, version="v1")
    assert f"'2026/01/01/{file.name}' does not exist any more, and version 'v1' was begun with it" in str(refused.value)
    assert "set training.from_scratch" in str(refused.value)


def test_a_list_of_files_that_this_release_cannot_read_is_refused(tmp_path: Path) -> None:
    read(tmp_path, version="v1")
    (tmp_path / "models/checkpoints/pets/v1" / SNAPSHOT).write_text('{"keys": []}')
    with pytest.raises(DatasetRejected, match="is not a list of files of this release"):
        read(tmp_path, version="v1")
