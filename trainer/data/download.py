"""A dataset's address to files on this machine, and one hash for what they hold.

Knows schemes and names, not what is in a file: that is trainer.data.tables.
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

from model.storage import ObjectMissing, ObjectStore, StorageRejected, StorageUnavailable, local_path, open_store
from trainer.errors import DatasetRejected

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
        from trainer.data import hubs

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


@contextmanager
def unchanged(files: Iterable[SourceFile]) -> Iterator[Callable[[], None]]:
    """Around the reading of files: raises StorageUnavailable if one was written to meanwhile, whatever else failed by then.

    Otherwise the hash of a dataset could be that of other bytes than its rows come from, and half a line would be blamed on
    the dataset. Yields the check, for who reads the files once more later.
    """
    before = {file: _state(file.path) for file in files}

    def require_unchanged() -> None:
        for file, state in before.items():
            if _state(file.path) != state:
                raise StorageUnavailable(f"{file.name} was written to while it was read")

    try:
        yield require_unchanged
    except Exception:
        require_unchanged()
        raise
    require_unchanged()


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def fingerprint(uri: str, *, scratch: Path, setting: str = "dataset.uri") -> str:
    """The `content_hash` of what `fetch` would bring, with one object of a store at a time in `scratch`.

    Raises what `fetch` raises.
    """
    if not uri.startswith("s3://"):
        return content_hash(fetch(uri, scratch=scratch, setting=setting))
    found = _find(uri, setting)
    if not found.names:
        raise _nothing_at(uri, setting)
    digest, here = hashlib.sha256(), scratch / "object"
    for name in found.names:
        with _missing_object(uri, setting):
            found.store.download(found.base + name, here)
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
    found = _find(uri, setting)
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="files-"))
    # Numbered, since a key may be no name for a file here.
    files = [SourceFile(name, folder / f"{index:05}-{name.rsplit('/', 1)[-1]}") for index, name in enumerate(found.names)]
    with _missing_object(uri, setting), ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        list(pool.map(lambda file: found.store.download(found.base + file.name, file.path), files))
    return files


@dataclass(frozen=True)
class _Objects:
    """Objects of a bucket: their keys are `base` and a name, sorted. A key may hold `//`, which is part of it."""

    store: ObjectStore
    base: str
    names: tuple[str, ...]


def _find(uri: str, setting: str) -> _Objects:
    try:
        return _meant(uri)
    except StorageRejected as error:
        raise StorageRejected(f"{setting}: {error}") from error


def _meant(uri: str) -> _Objects:
    """The objects that `uri` means: the one of this key, those that a glob matches, or all below a prefix."""
    if "*" in uri:
        folder, pattern = _fixed_part(uri)
        return _objects(folder, "", re.compile(_glob_expression(pattern)).fullmatch)
    folder, _, name = uri.rpartition("/")
    if folder not in ("s3:/", "") and name:
        found = _objects(f"{folder}/", name, lambda key: key == name)
        if found.names:
            return found
    return _objects(uri.rstrip("/") + "/", "", lambda _: True)


def _objects(folder: str, prefix: str, wanted: Callable[[str], object]) -> _Objects:
    """folder: ends in `/`. prefix: what the names start with."""
    bucket, _, base = folder.removeprefix("s3://").partition("/")
    store = open_store(f"s3://{bucket}/")
    names = (each.key.removeprefix(base) for each in store.list(base + prefix) if not each.key.endswith("/"))
    chosen = (name for name in names if name and wanted(name) and (name == prefix or not _is_hidden(name)))
    return _Objects(store, base, tuple(sorted(chosen)))


def _fixed_part(uri: str) -> tuple[str, str]:
    """What stands before the first part of the path with a `*`, and the pattern from there on."""
    slash = uri.rindex("/", 0, uri.index("*")) + 1 if "/" in uri[: uri.index("*")] else 0
    return uri[:slash] or ".", uri[slash:]


def _glob_expression(pattern: str) -> str:
    """`*` is anything within a name, `**/` any folders; the rest is literal."""
    parts = re.split(r"(\*\*/|\*\*|\*)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return "".join(meaning.get(part) or re.escape(part) for part in parts)
