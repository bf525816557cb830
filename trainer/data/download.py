"""Fetch the files of a dataset, and compute one hash of their content.

Knows addresses and names. The content of files is read by trainer.data.tables.
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
    """A file of a dataset: its name below the dataset's address, or the address itself if it is of the file; its path."""

    name: str
    path: Path


def fetch(uri: str, *, scratch: Path, setting: str = "dataset.uri") -> tuple[SourceFile, ...]:
    """Return all files at `uri`, the value of `setting`, by name. Remote files are downloaded to `scratch`.

    Hidden files and markers (a name or a folder that starts with `.` or `_`) are left out unless the address is their own.
    Raises DatasetRejected if there are no files, StorageError if the storage is unavailable, ConfigRejected if the hub's
    library is not installed.
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
    """Return the SHA-256 of the files' bytes, concatenated in the order of their names: `cat $FILES | sha256sum`.

    The hash of a dataset with one file is therefore the file's own. Bytes are hashed as stored, not decompressed.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda each: each.name):
        _add(digest, file.path)
    return digest.hexdigest()


@contextmanager
def unchanged(files: Iterable[SourceFile]) -> Iterator[Callable[[], None]]:
    """Raise StorageUnavailable if a file was written to while the block read it, even if the block failed.

    Otherwise the hash might be of other bytes than the rows, and an incomplete line would be reported as a fault of the
    dataset. Yields the check, for a caller that reads the files again later.
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
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def fingerprint(uri: str, *, scratch: Path, setting: str = "dataset.uri") -> str:
    """Return the `content_hash` of the files that `fetch` returns, with only one object at a time in `scratch`.

    Raises the errors of `fetch`.
    """
    if not uri.startswith("s3://"):
        return content_hash(fetch(uri, scratch=scratch, setting=setting))
    objects = _find(uri, setting)
    if not objects.names:
        raise _nothing_at(uri, setting)
    digest, here = hashlib.sha256(), scratch / "object"
    for name in objects.names:
        with _missing_object(uri, setting):
            objects.store.download(objects.base + name, here)
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
    """Raise DatasetRejected if an object that was listed no longer exists."""
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
    objects = _find(uri, setting)
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="files-"))
    # Numbered, since a key may not be a valid file name.
    files = [SourceFile(name, folder / f"{index:05}-{name.rsplit('/', 1)[-1]}") for index, name in enumerate(objects.names)]
    with _missing_object(uri, setting), ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        list(pool.map(lambda file: objects.store.download(objects.base + file.name, file.path), files))
    return files


@dataclass(frozen=True)
class _Objects:
    """Objects of a bucket, sorted. A key is `base` and a name, and may contain `//`."""

    store: ObjectStore
    base: str
    names: tuple[str, ...]


def _find(uri: str, setting: str) -> _Objects:
    try:
        return _meant(uri)
    except StorageRejected as error:
        raise StorageRejected(f"{setting}: {error}") from error


def _meant(uri: str) -> _Objects:
    """Return the objects that `uri` names: the one with this key, those that match a glob, or all below a prefix."""
    if "*" in uri:
        folder, pattern = _fixed_part(uri)
        return _objects(folder, "", re.compile(_glob_expression(pattern)).fullmatch)
    folder, _, name = uri.rpartition("/")
    if folder not in ("s3:/", "") and name:
        objects = _objects(f"{folder}/", name, lambda key: key == name)
        if objects.names:
            return objects
    return _objects(uri.rstrip("/") + "/", "", lambda _: True)


def _objects(folder: str, prefix: str, wanted: Callable[[str], object]) -> _Objects:
    """Return the objects in `folder`, which ends in `/`, whose names start with `prefix` and are `wanted`."""
    bucket, _, base = folder.removeprefix("s3://").partition("/")
    store = open_store(f"s3://{bucket}/")
    names = (each.key.removeprefix(base) for each in store.list(base + prefix) if not each.key.endswith("/"))
    chosen = (name for name in names if name and wanted(name) and (name == prefix or not _is_hidden(name)))
    return _Objects(store, base, tuple(sorted(chosen)))


def _fixed_part(uri: str) -> tuple[str, str]:
    """Return the path up to the first part with a `*`, and the rest as the pattern."""
    slash = uri.rindex("/", 0, uri.index("*")) + 1 if "/" in uri[: uri.index("*")] else 0
    return uri[:slash] or ".", uri[slash:]


def _glob_expression(pattern: str) -> str:
    """Return a regular expression for a glob: `*` matches within a name, `**/` any folders, the rest is literal."""
    parts = re.split(r"(\*\*/|\*\*|\*)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return "".join(meaning.get(part) or re.escape(part) for part in parts)
