"""Protocol of object stores, and their errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

PART_PREFIX = ".part-"  # of a file that is being written; never listed
ABANDONED_SECONDS = 3600.0  # without a write, after which a writer counts as dead
CHUNK_BYTES = 2**20
# Errors that a retry does not solve: a read-only disk, missing permissions, an impossible path.
CANNOT_BE_WRITTEN = frozenset(
    {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
)


class StorageError(Exception):
    """Base of all errors of a storage."""


class StorageRejected(StorageError):
    """The request is wrong (address, bucket, credentials): a retry fails again."""


class StorageUnavailable(StorageError):
    """The storage failed (network, full disk, overload): a retry may succeed."""


class ObjectMissing(StorageError):
    """No object has this key."""


class ObjectExists(StorageError):
    """An object that was to be created exists already.

    perhaps_ours: the request was repeated, so the object may come from its first try, whose response was lost.
    """

    perhaps_ours = False


class ObjectTooLarge(StorageError):
    """The object has more bytes than the caller accepts."""


class ConcurrentWrite(StorageUnavailable):
    """Another write of the same key is in progress, and may still fail."""


def disk_error(error: OSError, what: str) -> StorageError:
    """Return the StorageError for an error of the disk about the path or address `what`."""
    message = f"{what}: {error.strerror or error}"
    return StorageRejected(message) if error.errno in CANNOT_BE_WRITTEN else StorageUnavailable(message)


@dataclass(frozen=True)
class StoredObject:
    """Key of an object, relative to the store's URI, and its size in bytes."""

    key: str
    size: int


class ObjectStore(Protocol):
    """Store of objects, whose keys are paths below `uri`, which ends in `/`."""

    uri: str

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose keys start with `prefix`, in the order of their keys."""

    def read(self, key: str, *, limit: int | None = None) -> bytes:
        """Return an object's content. Raises ObjectMissing; ObjectTooLarge if it has more than `limit` bytes."""

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield an object's content in pieces. Raises ObjectMissing."""

    def write(self, key: str, content: bytes, *, new: bool = False) -> None:
        """Write `content` completely or not at all. new: raises ObjectExists instead of replacing an object."""

    def download(self, key: str, to: Path, *, limit: int | None = None) -> None:
        """Stream an object's content into the file `to`, completely or not at all.

        Raises ObjectMissing; ObjectTooLarge as soon as it has received more than `limit` bytes.
        """

    def upload(self, path: Path, key: str, *, new: bool = False) -> None:
        """Stream a file's content into an object, completely or not at all. new: raises ObjectExists instead of replacing one."""

    def delete(self, key: str) -> None:
        """Delete an object, if it exists."""

    def tidy(self, *, idle_seconds: float = ABANDONED_SECONDS) -> None:
        """Delete incomplete writes below the URI that are older than `idle_seconds`: their writers were killed.

        Logs a warning if that fails.
        """


def inside(key: str, uri: str) -> str:
    """Return the key. Raises StorageRejected if it is outside of the store."""
    parts = PurePosixPath(key).parts
    if ".." in parts or parts[:1] == ("/",):
        raise StorageRejected(f"key {key!r} is outside of {uri}")
    return key


def within(limit: int | None, size: int, what: str) -> None:
    """Raise ObjectTooLarge if `size` is more than `limit` bytes."""
    if limit is not None and size > limit:
        raise ObjectTooLarge(f"{what} has more than {limit:,} bytes")
