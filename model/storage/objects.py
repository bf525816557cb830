"""What an object store is, and what can go wrong with it, wherever the objects lie."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

PART_PREFIX = ".part-"  # a file that is being written; never listed
ABANDONED_SECONDS = 3600.0  # a writer that has not written for so long is taken for dead
CHUNK_BYTES = 2**20
# What a disk says that will say the same again: it is read-only, it is somebody else's, no file can have that path.
CANNOT_BE_WRITTEN = frozenset(
    {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
)


class StorageError(Exception):
    """Something went wrong between here and an object."""


class StorageRejected(StorageError):
    """The request itself is wrong (address, bucket, credentials): trying again will not help."""


class StorageUnavailable(StorageError):
    """The storage did not do its work (network, full disk, overload): trying again may help."""


class ObjectMissing(StorageError):
    """There is no object of that key."""


class ObjectExists(StorageError):
    """There is an object of that key already, and it was to be new.

    perhaps_ours: the request was repeated, so the object may come from its first try, whose answer was lost.
    """

    perhaps_ours = False


class ObjectTooLarge(StorageError):
    """The object has more bytes than the caller accepts."""


class WriteConflict(StorageUnavailable):
    """Another write of the same key is in progress: whether there will be an object is not known."""


def disk_error(error: OSError, what: str) -> StorageError:
    """Return the error as one of ours: whether trying again may help depends on what the disk said of `what`."""
    said = f"{what}: {error.strerror or error}"
    return StorageRejected(said) if error.errno in CANNOT_BE_WRITTEN else StorageUnavailable(said)


@dataclass(frozen=True)
class StoredObject:
    """One object: its key below the store's URI, and its size in bytes."""

    key: str
    size: int


class ObjectStore(Protocol):
    """Objects whose keys are paths below `uri`, which ends in `/`."""

    uri: str

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, by key; nothing if there is none."""

    def read(self, key: str, *, limit: int | None = None) -> bytes:
        """The object's content. Raises ObjectMissing, and ObjectTooLarge if it has more than `limit` bytes."""

    def stream(self, key: str) -> Iterator[bytes]:
        """The object's content in pieces. Raises ObjectMissing."""

    def write(self, key: str, content: bytes, *, new: bool = False) -> None:
        """Put `content`, whole or not at all. With `new`, raises ObjectExists rather than replace."""

    def download(self, key: str, to: Path, *, limit: int | None = None) -> None:
        """The object's content into the file `to`, streamed, whole or not at all.

        Raises ObjectMissing, and ObjectTooLarge as soon as more than `limit` bytes have come.
        """

    def upload(self, path: Path, key: str, *, new: bool = False) -> None:
        """Put the file's content, streamed, whole or not at all. With `new`, raises ObjectExists rather than replace."""

    def delete(self, key: str) -> None:
        """Take the object away; no error if there is none."""

    def tidy(self, *, idle_seconds: float = ABANDONED_SECONDS) -> None:
        """Delete what killed writers have left below the URI and nobody has written to for `idle_seconds`.

        Logs a warning where that is not allowed or not possible.
        """


def inside(key: str, uri: str) -> str:
    """The key, unless it leads out of the store. Raises StorageRejected."""
    parts = PurePosixPath(key).parts
    if ".." in parts or parts[:1] == ("/",):
        raise StorageRejected(f"key {key!r} leaves {uri}")
    return key


def within(limit: int | None, size: int, what: str) -> None:
    """Raise ObjectTooLarge for a size of more than `limit` bytes."""
    if limit is not None and size > limit:
        raise ObjectTooLarge(f"{what} has more than {limit:,} bytes")
