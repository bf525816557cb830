"""Publish and read versions: files with checksums, the manifest written last; incomplete and altered versions are refused."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from model.manifest import MAX_SHOWN_CHARACTERS, RESERVED_FILE_NAME, SCHEMA_VERSION, FileEntry, Manifest, quoted
from model.storage import (
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    ObjectTooLarge,
    StorageRejected,
    StorageUnavailable,
    local_path,
    open_store,
)

MANIFEST = RESERVED_FILE_NAME
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
REPORT = "report.html"
PARTS = "parts.bin"
SERVED = "served.json"
# All files that a version may have.
VERSION_FILES = (MANIFEST, GRAPH, TOKENIZER, REPORT, PARTS, SERVED)
PROBE = ".labelwright-probe"
MAX_MANIFEST_BYTES = 32 * 2**20  # 10,000 labels take 9 MiB
MAX_SHOWN_PROBLEMS = 20  # in one message
NAME_SHA256_DIGITS = 16  # in a name that is made from a SHA-256


class ArtifactRejected(Exception):
    """The version is incomplete or altered, or this release cannot read it."""


@dataclass(frozen=True)
class PublishedVersion:
    """Version in a storage. manifest_sha256: of the bytes of manifest.json, which has the SHA-256 of every other file."""

    uri: str
    manifest: Manifest
    manifest_sha256: str


def describe(folder: Path) -> dict[str, FileEntry]:
    """Return checksum and size of each file of a version that the folder has, without the manifest."""
    return {name: file_entry(folder / name) for name in VERSION_FILES[1:] if (folder / name).exists()}


def publish(folder: Path, manifest: Manifest, store: ObjectStore) -> PublishedVersion:
    """Publish the folder's files as the version at the URI of `store`.

    The manifest is written last, and only if there is none: a reader sees the complete version or none. No object is ever
    replaced. Of several publishers, the first to write the manifest has published the version; the others get ObjectExists.
    If an interrupted attempt or another publisher left a file with other bytes, the new file gets a name made from its
    SHA-256, and the manifest says so in `stored_as`.
    """
    require_unpublished(store)
    store.tidy()
    files = {name: _put(folder / name, name, entry, store) for name, entry in manifest.files.items()}
    manifest = manifest.model_copy(update={"files": files})
    content = to_json(manifest)
    store.write(MANIFEST, content, new=True)
    return PublishedVersion(store.uri, manifest, sha256_of(content))


def _put(path: Path, name: str, entry: FileEntry, store: ObjectStore) -> FileEntry:
    """Upload a file without replacing any object, and return its entry with its object's name. Raises StorageError."""
    for key in (name, name_by_content(name, entry.sha256)):
        try:
            store.upload(path, key, new=True)
        except ObjectExists:
            if not _holds(store, key, entry):
                continue
        return entry.model_copy(update={"stored_as": None if key == name else key})
    raise StorageRejected(f"{store.uri}{key} does not have the content that its name says: it was altered; delete it")


def _holds(store: ObjectStore, key: str, entry: FileEntry) -> bool:
    """Return whether the object has exactly the entry's content."""
    try:
        return digest(store.stream(key), max_bytes=entry.size) == (entry.sha256, entry.size)
    except ObjectMissing:  # it was deleted meanwhile
        return False


def name_by_content(name: str, sha256: str) -> str:
    """Return a name such as model-0123456789abcdef.onnx, which only publishers of the same bytes use."""
    path = Path(name)
    return f"{path.stem}-{sha256[:NAME_SHA256_DIGITS]}{path.suffix}"


def is_of_a_version(name: str) -> bool:
    """Return whether a publisher may have written an object of this name."""
    return re.sub(rf"-[0-9a-f]{{{NAME_SHA256_DIGITS}}}(?=\.[a-z]+$)", "", name) in VERSION_FILES


def require_unpublished(store: ObjectStore) -> None:
    """Raise ObjectExists if a version is already published at the store's URI."""
    if any(each.key == MANIFEST for each in store.list(MANIFEST)):
        raise ObjectExists(f"{store.uri} is published already: a version never changes")


def require_writable(store: ObjectStore) -> None:
    """Write and delete a small object. Raises StorageError if that fails."""
    store.write(PROBE, b"Can this be written?\n")
    store.delete(PROBE)


def read_published(store: ObjectStore, *, manifest_sha256: str | None = None) -> PublishedVersion:
    """Return the version at the store's URI. Only its manifest is read and checked.

    manifest_sha256: the expected one. Raises ObjectMissing if nothing is published there; ArtifactRejected, StorageError.
    """
    content = _read_manifest(store, manifest_sha256)
    return PublishedVersion(store.uri, parse_manifest(content, where=store.uri + MANIFEST), sha256_of(content))


def _read_manifest(store: ObjectStore, sha256: str | None) -> bytes:
    try:
        content = store.read(MANIFEST, limit=MAX_MANIFEST_BYTES)
    except ObjectTooLarge as error:
        raise ArtifactRejected(str(error)) from error
    require_digest(content, sha256, where=store.uri + MANIFEST)
    return content


def read_file(store: ObjectStore, manifest: Manifest, name: str) -> bytes:
    """Read and check a small file of the version at the store's URI. Raises ArtifactRejected, ObjectMissing, StorageError."""
    key, expected = manifest.stored(name), manifest.files[name]
    try:
        content = store.read(key, limit=expected.size)
    except ObjectTooLarge as error:
        raise ArtifactRejected(f"{error}, the size in the manifest: it was altered") from error
    if (actual := sha256_of(content)) != expected.sha256:
        raise ArtifactRejected(f"{store.uri}{key} has SHA-256 {actual}, the manifest says {expected.sha256}: it was altered")
    return content


def fetch(uri: str, scratch: Path, *, manifest_sha256: str | None = None) -> Path:
    """Return a local, verified folder of the version at `uri`: the version's own if it is local, else a copy in `scratch`.

    manifest_sha256: the expected one; another manifest is refused before it is parsed. No more bytes of a file are downloaded
    than the manifest says it has. Raises ArtifactRejected, StorageRejected, StorageUnavailable.
    """
    if not uri.startswith("s3://"):
        folder = local_path(uri)
        verify(folder, manifest_sha256=manifest_sha256)
        return folder
    store = open_store(uri)
    try:
        content = _read_manifest(store, manifest_sha256)
        manifest = _complete(parse_manifest(content, where=store.uri + MANIFEST), store.uri + MANIFEST)
        _require_room(manifest, scratch, store.uri)
        for name, entry in manifest.files.items():
            _download(store, manifest.stored(name), entry, scratch)
    except ObjectMissing as error:
        raise ArtifactRejected(f"{store.uri} is not a published version: {error}") from error
    (scratch / MANIFEST).write_bytes(content)
    verify(scratch, manifest_sha256=manifest_sha256)
    return scratch


def _require_room(manifest: Manifest, folder: Path, uri: str) -> None:
    """Raise StorageUnavailable if the folder's disk is too full for all files of the version."""
    folder.mkdir(parents=True, exist_ok=True)
    size, free = sum(each.size for each in manifest.files.values()), shutil.disk_usage(folder).free
    if size > free:
        raise StorageUnavailable(f"{uri} has {size:,} bytes by its manifest, but {folder} has only {free:,} free")


def _download(store: ObjectStore, key: str, entry: FileEntry, folder: Path) -> None:
    try:
        store.download(key, folder / key, limit=entry.size)
    except ObjectTooLarge as error:
        raise ArtifactRejected(
            f"{store.uri}{key} has more bytes than {entry.size}, the size in the manifest: it was altered"
        ) from error


def read_manifest(folder: Path, *, sha256: str | None = None) -> Manifest:
    """Return the folder's manifest. Raises ArtifactRejected if it is missing, invalid, or does not have the SHA-256 `sha256`."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactRejected(f"{folder} is not a published version: it has no {MANIFEST}") from error
    except OSError as error:
        raise ArtifactRejected(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise ArtifactRejected(f"{path} has more than {MAX_MANIFEST_BYTES:,} bytes")
    require_digest(content, sha256, where=str(path))
    return parse_manifest(content, where=str(path))


def require_digest(content: bytes, expected: str | None, *, where: str) -> None:
    """Raise ArtifactRejected if the SHA-256 of a manifest's bytes is not the expected one. expected: None accepts any."""
    if expected is not None and (actual := sha256_of(content)) != expected:
        raise ArtifactRejected(f"{where} has SHA-256 {actual}, expected {expected}: it is not the manifest that was published")


def parse_manifest(content: bytes, *, where: str) -> Manifest:
    """Parse a manifest. Raises ArtifactRejected, whose message names `where` and each wrong field."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ArtifactRejected(f"{where}{_problems(error)}") from error


def _problems(error: ValidationError) -> str:
    """Return the end of a sentence that starts with the manifest's address."""
    problems = error.errors(include_url=False, include_context=False)
    if problems[0]["type"] == "json_invalid":
        return f" is not JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}"
    version = next((each["input"] for each in problems if each["loc"] == ("schema_version",)), None)
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        reads = f"this release reads {SCHEMA_VERSION}: use a newer Labelwright"
        return f": schema_version is {quoted(version)}, {reads}"
    # Many values of a field may have the same error: the first is shown, the others are counted.
    same: dict[tuple[object, str], list[str]] = {}
    for each in problems:
        loc = ".".join(_shown_field(part) for part in each["loc"])
        same.setdefault((each["loc"][:1], each["msg"].removeprefix("Value error, ")), []).append(loc or "manifest")
    sentences = [
        f"{first} and {len(others)} more: {message}" if others else f"{first}: {message}"
        for (_, message), (first, *others) in same.items()
    ]
    more = [f"and {len(sentences) - MAX_SHOWN_PROBLEMS} more"] if len(sentences) > MAX_SHOWN_PROBLEMS else []
    return ": " + "; ".join([*sentences[:MAX_SHOWN_PROBLEMS], *more])


def _shown_field(part: int | str) -> str:
    is_plain = isinstance(part, str) and part.isprintable() and len(part) <= MAX_SHOWN_CHARACTERS
    return str(part) if is_plain else quoted(part)


def verify(folder: Path, *, manifest_sha256: str | None = None) -> Manifest:
    """Check every file of the version in `folder`, and return its manifest. Raises ArtifactRejected, which names the file.

    manifest_sha256: the expected one.
    """
    manifest = _complete(read_manifest(folder, sha256=manifest_sha256), str(folder / MANIFEST))
    for name, expected in manifest.files.items():
        _verify_file(folder / manifest.stored(name), expected)
    return manifest


def _complete(manifest: Manifest, where: str) -> Manifest:
    for required in (GRAPH, TOKENIZER):
        if required not in manifest.files:
            raise ArtifactRejected(f"{where}: files has no {required}")
    return manifest


def to_json(manifest: Manifest) -> bytes:
    """Return the bytes of manifest.json."""
    return (manifest.model_dump_json(indent=1) + "\n").encode()


def _verify_file(path: Path, expected: FileEntry) -> None:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            sha256 = hashlib.file_digest(file, "sha256").hexdigest() if size == expected.size else None
    except FileNotFoundError as error:
        raise ArtifactRejected(f"{path} is missing: the version is incomplete") from error
    except OSError as error:
        raise ArtifactRejected(f"{path} cannot be read: {error.strerror}") from error
    if sha256 is None:
        raise ArtifactRejected(f"{path} has {size} bytes, the manifest says {expected.size}: it was altered or cut")
    if sha256 != expected.sha256:
        raise ArtifactRejected(f"{path} has SHA-256 {sha256}, the manifest says {expected.sha256}: it was altered")


def file_entry(path: Path) -> FileEntry:
    """Return checksum and size of a file."""
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest(pieces: Iterable[bytes], *, max_bytes: int) -> tuple[str, int]:
    """Return SHA-256 and size of a stream. Reading stops after `max_bytes` bytes: then both are of the bytes that were read."""
    hashed, size = hashlib.sha256(), 0
    for piece in pieces:
        hashed.update(piece)
        size += len(piece)
        if size > max_bytes:
            break
    return hashed.hexdigest(), size
