"""Object storage: `file://` and `s3://` behind one Protocol.

A write is complete or invisible. `StorageRejected` means that a retry fails again, `StorageUnavailable` that it may succeed.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from model.storage.files import FileStore
from model.storage.objects import (
    ABANDONED_SECONDS,
    CANNOT_BE_WRITTEN,
    PART_PREFIX,
    ConcurrentWrite,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    ObjectTooLarge,
    StorageError,
    StorageRejected,
    StorageUnavailable,
    StoredObject,
    disk_error,
)
from model.storage.s3 import S3Store

__all__ = [
    "ABANDONED_SECONDS",
    "CANNOT_BE_WRITTEN",
    "PART_PREFIX",
    "ConcurrentWrite",
    "ObjectExists",
    "ObjectMissing",
    "ObjectStore",
    "ObjectTooLarge",
    "StorageError",
    "StorageRejected",
    "StorageUnavailable",
    "StoredObject",
    "disk_error",
    "local_path",
    "open_store",
]


def open_store(uri: str) -> ObjectStore:
    """Return the store of the objects below `uri`: `s3://bucket/prefix`, `file:///folder`, or a path.

    S3 credentials, region and endpoint (`AWS_ENDPOINT_URL`) are configured as for the AWS tools.
    Raises StorageRejected for another scheme or an address without a bucket.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise StorageRejected(f"{uri!r} names no bucket: expected s3://bucket/prefix/")
        return S3Store(parts.netloc, parts.path.strip("/"))
    return FileStore(local_path(uri))


def local_path(uri: str) -> Path:
    """Return the absolute path of `file:///folder` or of a plain path. Raises StorageRejected for any other address."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise StorageRejected(f"{uri!r} names the host {parts.netloc!r}: expected file:///folder, with three slashes")
        return Path(unquote(parts.path)).absolute()
    if "://" in uri or not uri:
        raise StorageRejected(f"{uri!r}: expected s3://bucket/prefix/, file:///folder/ or a path")
    return Path(uri).expanduser().absolute()
