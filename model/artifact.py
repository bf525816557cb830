"""Write and read a version's folder: checksums, manifest last, refuse what is incomplete or altered."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from model.manifest import RESERVED_FILE_NAME, SCHEMA_VERSION, SHOWN_CHARACTERS, FileEntry, Manifest, shown
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
# What a version may consist of.
VERSION_FILES = (MANIFEST, GRAPH, TOKENIZER, REPORT, PARTS, SERVED)
PROBE = ".labelwright-probe"
MOST_MANIFEST_BYTES = 32 * 2**20  # 10,000 labels take 9 MiB
MOST_PROBLEMS = 20  # in one message
DIGITS = 16  # of a SHA-256 in a name that is made from it


class ArtifactRejected(Exception):
    """The version is incomplete, altered, or of a kind that this release does not read."""


@dataclass(frozen=True)
class PublishedVersion:
    """A version as it lies in a storage. manifest_sha256: of the bytes of its manifest, which vouches for all its files."""

    uri: str
    manifest: Manifest
    manifest_sha256: str


def describe(folder: Path) -> dict[str, FileEntry]:
    """Checksum and size of every file of the folder that a version consists of, but the manifest."""
    return {name: file_entry(folder / name) for name in VERSION_FILES[1:] if (folder / name).exists()}


def publish(folder: Path, manifest: Manifest, store: ObjectStore) -> PublishedVersion:
    """Make the folder's files a version of `store`, whose URI is the version's.

    The manifest is written last and only if there is none: a reader sees the whole version or none. Nothing that lies there
    is ever replaced, so that of several publishers the one whose manifest was first has a version that nobody alters; the
    others get ObjectExists. A file in whose place an interrupted attempt or another publisher has left other bytes is put
    under a name that is made from its SHA-256, which the manifest tells.
    """
    require_unpublished(store)
    store.tidy()
    files = {name: _put(folder / name, name, entry, store) for name, entry in manifest.files.items()}
    manifest = manifest.model_copy(update={"files": files})
    content = to_json(manifest)
    store.write(MANIFEST, content, new=True)
    return PublishedVersion(store.uri, manifest, sha256_of(content))


def _put(path: Path, name: str, entry: FileEntry, store: ObjectStore) -> FileEntry:
    """Upload a file without replacing anything; the entry says where it lies. Raises StorageError."""
    for key in (name, name_by_content(name, entry.sha256)):
        try:
            store.upload(path, key, new=True)
        except ObjectExists:
            if not _holds(store, key, entry):
                continue
        return entry.model_copy(update={"stored_as": None if key == name else key})
    raise StorageRejected(f"{store.uri}{key} has not the content that its name tells: it was altered, delete it")


def _holds(store: ObjectStore, key: str, entry: FileEntry) -> bool:
    """Whether exactly these bytes lie there."""
    try:
        return digest(store.stream(key), most=entry.size) == (entry.sha256, entry.size)
    except ObjectMissing:  # somebody has deleted it since
        return False


def name_by_content(name: str, sha256: str) -> str:
    """Such as model-0123456789abcdef.onnx: two publishers write the same bytes under it, or none of them writes it."""
    path = Path(name)
    return f"{path.stem}-{sha256[:DIGITS]}{path.suffix}"


def is_of_a_version(name: str) -> bool:
    """Whether a version may consist of an object of this name, or a publisher may have left it."""
    return re.sub(rf"-[0-9a-f]{{{DIGITS}}}(?=\.[a-z]+$)", "", name) in VERSION_FILES


def require_unpublished(store: ObjectStore) -> None:
    """Raise ObjectExists if there is a version at the store's URI: it would have to change."""
    if any(each.key == MANIFEST for each in store.list(MANIFEST)):
        raise ObjectExists(f"{store.uri} is published already: a version never changes")


def require_writable(store: ObjectStore) -> None:
    """Raise StorageError if nothing can be written to the store, by trying."""
    store.write(PROBE, b"Can this be written?\n")
    store.delete(PROBE)


def read_published(store: ObjectStore, *, manifest_sha256: str | None = None) -> PublishedVersion:
    """What the manifest of the version at the store's URI says, without a look at its files.

    manifest_sha256: what it has to be. Raises ObjectMissing if nothing is published there; ArtifactRejected, StorageError.
    """
    content = _read_manifest(store, manifest_sha256)
    return PublishedVersion(store.uri, parse_manifest(content, where=store.uri + MANIFEST), sha256_of(content))


def _read_manifest(store: ObjectStore, sha256: str | None) -> bytes:
    try:
        content = store.read(MANIFEST, limit=MOST_MANIFEST_BYTES)
    except ObjectTooLarge as error:
        raise ArtifactRejected(str(error)) from error
    require_digest(content, sha256, where=store.uri + MANIFEST)
    return content


def read_file(store: ObjectStore, manifest: Manifest, name: str) -> bytes:
    """A small file of the version at the store's URI, found unaltered. Raises ArtifactRejected, ObjectMissing, StorageError."""
    key, expected = manifest.stored(name), manifest.files[name]
    try:
        content = store.read(key, limit=expected.size)
    except ObjectTooLarge as error:
        raise ArtifactRejected(f"{error}, which is what the manifest says: it was altered") from error
    if (found := sha256_of(content)) != expected.sha256:
        raise ArtifactRejected(f"{store.uri}{key} has SHA-256 {found}, the manifest says {expected.sha256}: it was altered")
    return content


def fetch(uri: str, scratch: Path, *, manifest_sha256: str | None = None) -> Path:
    """A local, verified folder of the version at `uri`: itself if it is local already, else a copy in `scratch`.

    manifest_sha256: that of the manifest which was published; another one is refused before it is read. No file is fetched
    beyond the size that the manifest gives it. Raises ArtifactRejected, StorageRejected, StorageUnavailable.
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
    """Raise StorageUnavailable if the folder's disk has not room for all files of the version."""
    folder.mkdir(parents=True, exist_ok=True)
    size, free = sum(each.size for each in manifest.files.values()), shutil.disk_usage(folder).free
    if size > free:
        raise StorageUnavailable(f"{uri} has {size:,} bytes, by its manifest; {folder} has room for {free:,}")


def _download(store: ObjectStore, key: str, entry: FileEntry, folder: Path) -> None:
    try:
        store.download(key, folder / key, limit=entry.size)
    except ObjectTooLarge as error:
        said = f"the manifest says {entry.size}"
        raise ArtifactRejected(f"{store.uri}{key} has more bytes, {said}: it was altered") from error


def read_manifest(folder: Path, *, sha256: str | None = None) -> Manifest:
    """The folder's manifest. Raises ArtifactRejected if there is none, none that this release reads, or not that of `sha256`."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            content = file.read(MOST_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactRejected(f"{folder} is not a published version: it has no {MANIFEST}") from error
    except OSError as error:
        raise ArtifactRejected(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MOST_MANIFEST_BYTES:
        raise ArtifactRejected(f"{path} has more than {MOST_MANIFEST_BYTES:,} bytes")
    require_digest(content, sha256, where=str(path))
    return parse_manifest(content, where=str(path))


def require_digest(content: bytes, expected: str | None, *, where: str) -> None:
    """Raise ArtifactRejected if the SHA-256 of a manifest's bytes is not the expected one; None: any will do."""
    if expected is not None and (found := sha256_of(content)) != expected:
        raise ArtifactRejected(f"{where} has SHA-256 {found}, expected {expected}: it is not the manifest that was published")


def parse_manifest(content: bytes, *, where: str) -> Manifest:
    """The manifest that `content` holds. Raises ArtifactRejected, naming `where` and each field that is wrong."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ArtifactRejected(f"{where}{_what_is_wrong(error)}") from error


def _what_is_wrong(error: ValidationError) -> str:
    """To go behind where it was found."""
    problems = error.errors(include_url=False, include_context=False)
    if problems[0]["type"] == "json_invalid":
        return f" is not JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}"
    version = next((each["input"] for each in problems if each["loc"] == ("schema_version",)), None)
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        reads = f"this release reads {SCHEMA_VERSION}: use a newer Labelwright"
        return f": schema_version is {shown(version)}, {reads}"
    # Of a field with many values that are wrong alike, the first, and how many more there are.
    alike: dict[tuple[object, str], list[str]] = {}
    for each in problems:
        loc = ".".join(_shown_field(part) for part in each["loc"])
        alike.setdefault((each["loc"][:1], each["msg"].removeprefix("Value error, ")), []).append(loc or "manifest")
    said = [
        f"{first} and {len(others)} more: {message}" if others else f"{first}: {message}"
        for (_, message), (first, *others) in alike.items()
    ]
    more = [f"and {len(said) - MOST_PROBLEMS} more"] if len(said) > MOST_PROBLEMS else []
    return ": " + "; ".join([*said[:MOST_PROBLEMS], *more])


def _shown_field(part: int | str) -> str:
    is_plain = isinstance(part, str) and part.isprintable() and len(part) <= SHOWN_CHARACTERS
    return str(part) if is_plain else shown(part)


def verify(folder: Path, *, manifest_sha256: str | None = None) -> Manifest:
    """The manifest, once every file that it names was found unaltered. Raises ArtifactRejected, naming the file.

    manifest_sha256: what that of the manifest has to be.
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
    """The manifest as it is stored."""
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
    """Checksum and size of a file."""
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


def sha256_of(content: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest(pieces: Iterable[bytes], *, most: int) -> tuple[str, int]:
    """SHA-256 and size of a stream, which is left once it has more than `most` bytes: then both are of what was read."""
    hashed, size = hashlib.sha256(), 0
    for piece in pieces:
        hashed.update(piece)
        size += len(piece)
        if size > most:
            break
    return hashed.hexdigest(), size
