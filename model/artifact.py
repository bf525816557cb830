"""Write and read a version's folder: checksums, manifest last, refuse what is incomplete or altered."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.manifest import SCHEMA_VERSION, FileEntry, Manifest
from model.storage import ObjectExists, ObjectMissing, ObjectStore, local_path, open_store

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
REPORT = "report.html"
PARTS = "parts.bin"
SERVED = "served.json"
# What a version may consist of.
VERSION_FILES = (MANIFEST, GRAPH, TOKENIZER, REPORT, PARTS, SERVED)
PROBE = ".labelwright-probe"


class ArtifactRejected(Exception):
    """The version is incomplete, altered, or of a kind that this release does not read."""


def describe(folder: Path) -> dict[str, FileEntry]:
    """Checksum and size of every file of the folder that a version consists of, but the manifest."""
    return {name: file_entry(folder / name) for name in VERSION_FILES[1:] if (folder / name).exists()}


def publish(folder: Path, manifest: Manifest, store: ObjectStore) -> str:
    """Make the folder's files a version of `store`, whose URI is the version's, and return that URI.

    The manifest is written last and only if there is none: a reader sees the whole version or none, and a
    published version never changes (ObjectExists). What an interrupted attempt left is replaced.
    """
    require_unpublished(store)
    for name in manifest.files:
        store.upload(folder / name, name)
    store.write(MANIFEST, to_json(manifest), new=True)
    return store.uri


def require_unpublished(store: ObjectStore) -> None:
    """Raise ObjectExists if there is a version at the store's URI: it would have to change."""
    if any(each.key == MANIFEST for each in store.list(MANIFEST)):
        raise ObjectExists(f"{store.uri} is published already: a version never changes")


def require_writable(store: ObjectStore) -> None:
    """Raise StorageError if nothing can be written to the store, by trying."""
    store.write(PROBE, b"Can this be written?\n")
    store.delete(PROBE)


def fetch(uri: str, scratch: Path) -> Path:
    """A local, verified folder of the version at `uri`: itself if it is local already, else a copy in `scratch`.

    Raises ArtifactRejected, StorageRejected, StorageUnavailable.
    """
    if not uri.startswith("s3://"):
        folder = local_path(uri)
        verify(folder)
        return folder
    store = open_store(uri)
    try:
        store.download(MANIFEST, scratch / MANIFEST)
        for name in read_manifest(scratch).files:
            store.download(name, scratch / name)
    except ObjectMissing as error:
        raise ArtifactRejected(f"{store.uri} is not a published version: {error}") from error
    verify(scratch)
    return scratch


def read_manifest(folder: Path) -> Manifest:
    """The folder's manifest. Raises ArtifactRejected if there is none, or none that this release reads."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactRejected(f"{folder} is not a published version: it has no {MANIFEST}") from error
    except OSError as error:
        raise ArtifactRejected(f"{path} cannot be read: {error.strerror}") from error
    return parse_manifest(content, where=str(path))


def parse_manifest(content: bytes, *, where: str) -> Manifest:
    """The manifest that `content` holds. Raises ArtifactRejected, naming `where` and each field that is wrong."""
    try:
        fields: Any = json.loads(content)
    except ValueError as error:
        raise ArtifactRejected(f"{where} is not JSON: {error}") from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        reads = f"this release reads {SCHEMA_VERSION}: use a newer Labelwright"
        raise ArtifactRejected(f"{where}: schema_version is {version}, {reads}")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ArtifactRejected(f"{where}: {_problems(error)}") from error
    for name in manifest.files:
        if Path(name).name != name:  # before anything is written or read under that name
            raise ArtifactRejected(f"{where}: files names {name!r}, which is not a plain file name")
    return manifest


def _problems(error: ValidationError) -> str:
    """What is wrong and where; of a field with many values that are wrong alike, the first, and how many more there are."""
    alike: dict[tuple[object, str], list[str]] = {}
    for each in error.errors():
        where = ".".join(map(str, each["loc"])) or "manifest"
        alike.setdefault((each["loc"][:1], each["msg"].removeprefix("Value error, ")), []).append(where)
    return "; ".join(
        f"{first} and {len(others)} more: {message}" if others else f"{first}: {message}"
        for (_, message), (first, *others) in alike.items()
    )


def verify(folder: Path) -> Manifest:
    """The manifest, once every file that it names was found unaltered. Raises ArtifactRejected, naming the file."""
    manifest = read_manifest(folder)
    for required in (GRAPH, TOKENIZER):
        if required not in manifest.files:
            raise ArtifactRejected(f"{folder / MANIFEST}: files has no {required}")
    for name, expected in manifest.files.items():
        _verify_file(folder / name, expected)
    return manifest


def to_json(manifest: Manifest) -> bytes:
    """The manifest as it is stored."""
    return (manifest.model_dump_json(indent=1) + "\n").encode()


def _verify_file(path: Path, expected: FileEntry) -> None:
    try:
        found = file_entry(path)
    except FileNotFoundError as error:
        raise ArtifactRejected(f"{path} is missing: the version is incomplete") from error
    except OSError as error:
        raise ArtifactRejected(f"{path} cannot be read: {error.strerror}") from error
    if found.size != expected.size:
        raise ArtifactRejected(f"{path} has {found.size} bytes, the manifest says {expected.size}: it was altered or cut")
    if found.sha256 != expected.sha256:
        raise ArtifactRejected(f"{path} has SHA-256 {found.sha256}, the manifest says {expected.sha256}: it was altered")


def file_entry(path: Path) -> FileEntry:
    """Checksum and size of a file."""
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)
