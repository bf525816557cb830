"""A dataset's address to files on this machine, and one hash for what they hold.

Knows schemes and names, not what is in a file: that is trainer.tables.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from model.storage import ObjectMissing, ObjectStore, StorageRejected, local_path, open_store
from trainer.rejections import DatasetRejected

DOWNLOADS_AT_ONCE = 4


@dataclass(frozen=True)
class SourceFile:
    """One file of a dataset: its name below the dataset's address, or that address if it is the file's own; where it lies."""

    name: str
    path: Path


def fetch(uri: str, *, scratch: Path, setting: str = "dataset.uri") -> tuple[SourceFile, ...]:
    """Every file behind `uri`, which is the value of `setting`, by name; what is remote is brought to `scratch`.

    Hidden files and markers (a name or a folder that starts with `.` or `_`) are left out unless the address is their own.
    Raises DatasetRejected if there is none, StorageError if the storage does not answer, ConfigRejected if the address is
    of a hub whose library is not installed.
    """
    scheme, _, rest = uri.partition("://")
    if scheme in ("hf", "kaggle"):
        from trainer import hubs  # polars, which a check of files does without

        if scheme == "hf":
            return (SourceFile("data.parquet", hubs.from_hugging_face(rest, scratch=scratch)),)
        files = _in_folder(hubs.from_kaggle(rest))
    elif scheme == "s3":
        files = _from_store(uri, scratch=scratch, setting=setting)
    else:
        files = _on_disk(uri)
    if not files:
        raise _nothing_at(uri, setting)
    if [file.name for file in files] == [unquote(uri).rpartition("/")[2]]:
        return (SourceFile(uri, files[0].path),)
    return tuple(files)


def content_hash(files: Iterable[SourceFile]) -> str:
    """SHA-256 of the files' bytes, one after the other in the order of their names: `cat $FILES | sha256sum`.

    So the hash of a dataset of one file is that of the file. Bytes are taken as stored, not decompressed.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda each: each.name):
        _add(digest, file.path)
    return digest.hexdigest()


def fingerprint(uri: str, *, scratch: Path, setting: str = "dataset.uri") -> str:
    """The `content_hash` of what `fetch` would bring, with one object of a store at a time in `scratch`.

    Raises what `fetch` raises.
    """
    if not uri.startswith("s3://"):
        return content_hash(fetch(uri, scratch=scratch, setting=setting))
    store, keys = _find(uri, setting)
    if not keys:
        raise _nothing_at(uri, setting)
    digest, here = hashlib.sha256(), scratch / "object"
    for key in sorted(keys):
        with _missing_object(uri, setting):
            store.download(key, here)
        _add(digest, here)
        here.unlink()
    return digest.hexdigest()


def _add(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)


def _nothing_at(uri: str, setting: str) -> DatasetRejected:
    return DatasetRejected(f"{setting} {uri!r}: there is no file")


@contextmanager
def _missing_object(uri: str, setting: str) -> Iterator[None]:
    """Around the reading of an object that was listed and may be gone."""
    try:
        yield
    except ObjectMissing as error:
        raise DatasetRejected(f"{setting} {uri!r}: {error}") from error


def _on_disk(uri: str) -> list[SourceFile]:
    try:
        if "*" in uri:
            folder, pattern = _fixed_part(uri)
            base = local_path(folder)
            return _visible((path, path.relative_to(base).as_posix()) for path in base.glob(unquote(pattern)))
        path = local_path(uri)
        return [SourceFile(path.name, path)] if path.is_file() else _in_folder(path)
    except OSError as error:
        raise StorageRejected(f"{uri}: {error.strerror or error}") from error


def _in_folder(folder: Path) -> list[SourceFile]:
    return _visible((path, path.relative_to(folder).as_posix()) for path in folder.rglob("*"))


def _visible(paths: Iterable[tuple[Path, str]]) -> list[SourceFile]:
    files = (SourceFile(name, path) for path, name in paths if not _is_hidden(name) and path.is_file())
    return sorted(files, key=lambda each: each.name)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _from_store(uri: str, *, scratch: Path, setting: str) -> list[SourceFile]:
    store, keys = _find(uri, setting)
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="files-"))
    # Numbered, since a key may be no name for a file here.
    files = [SourceFile(key, folder / f"{index:05}-{key.rsplit('/', 1)[-1]}") for index, key in enumerate(keys)]
    with _missing_object(uri, setting), ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        list(pool.map(lambda file: store.download(file.name, file.path), files))
    return files


def _find(uri: str, setting: str) -> tuple[ObjectStore, list[str]]:
    try:
        return _meant(uri)
    except StorageRejected as error:
        raise StorageRejected(f"{setting}: {error}") from error


def _meant(uri: str) -> tuple[ObjectStore, list[str]]:
    """The store, and the keys in it that `uri` means: an object's own, those that a glob matches, or all below a prefix."""
    if "*" in uri:
        folder, pattern = _fixed_part(uri)
        return _keys(folder, "", re.compile(_glob_expression(pattern)).fullmatch)
    folder, _, name = uri.rstrip("/").rpartition("/")
    if folder in ("s3:/", ""):  # the whole bucket
        return _keys(uri, "", lambda _: True)
    store, keys = _keys(folder, name, lambda key: key == name)
    if keys and not uri.endswith("/"):
        return store, keys
    return _keys(uri, "", lambda _: True)


def _keys(folder: str, prefix: str, wanted: Callable[[str], object]) -> tuple[ObjectStore, list[str]]:
    store = open_store(folder)
    keys = (each.key for each in store.list(prefix) if each.key and not each.key.endswith("/"))
    return store, sorted(key for key in keys if wanted(key) and (key == prefix or not _is_hidden(key)))


def _fixed_part(uri: str) -> tuple[str, str]:
    """What stands before the first part of the path with a `*`, and the pattern from there on."""
    slash = uri.rindex("/", 0, uri.index("*")) + 1 if "/" in uri[: uri.index("*")] else 0
    return uri[:slash] or ".", uri[slash:]


def _glob_expression(pattern: str) -> str:
    """`*` is anything within a name, `**/` any folders; the rest is literal."""
    parts = re.split(r"(\*\*/|\*\*|\*)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return "".join(meaning.get(part) or re.escape(part) for part in parts)
