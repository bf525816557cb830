"""Objects under a URI: `file://` and `s3://` behind one Protocol.

The only module that knows boto3. A write is complete or invisible. Errors say what the caller can do:
`StorageRejected` will fail again however often it is tried, `StorageUnavailable` may not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from botocore.client import BaseClient

PART_PREFIX = ".part-"  # a file that is being written; never listed


class StorageError(Exception):
    """Something went wrong between here and an object."""


class StorageRejected(StorageError):
    """The request itself is wrong (address, bucket, credentials): trying again will not help."""


class StorageUnavailable(StorageError):
    """The storage did not do its work (network, full disk, overload): trying again may help."""


class ObjectMissing(StorageError):
    """There is no object of that key."""


class ObjectExists(StorageError):
    """There is an object of that key already, and it was to be new."""


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

    def read(self, key: str) -> bytes:
        """The object's content. Raises ObjectMissing."""

    def write(self, key: str, content: bytes, *, new: bool = False) -> None:
        """Put `content`, whole or not at all. With `new`, raises ObjectExists rather than replace."""

    def download(self, key: str, to: Path) -> None:
        """The object's content into the file `to`, streamed. Raises ObjectMissing."""

    def upload(self, path: Path, key: str) -> None:
        """Put the file's content, streamed, whole or not at all."""

    def delete(self, key: str) -> None:
        """Take the object away; no error if there is none."""


def open_store(uri: str) -> ObjectStore:
    """The store below `uri`: `s3://bucket/prefix`, `file:///folder`, or a path.

    S3 credentials, region and endpoint (`AWS_ENDPOINT_URL`) come from where the AWS tools read them.
    Raises StorageRejected for another scheme or an address without a bucket.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise StorageRejected(f"{uri!r} names no bucket: expected s3://bucket/prefix/")
        return S3Store(parts.netloc, parts.path.strip("/"))
    return FileStore(local_path(uri))


def local_path(uri: str) -> Path:
    """The path behind `file:///folder` or a plain path. Raises StorageRejected for any other address."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise StorageRejected(f"{uri!r} names the host {parts.netloc!r}: expected file:///folder, with three slashes")
        return Path(unquote(parts.path)).absolute()
    if "://" in uri or not uri:
        raise StorageRejected(f"{uri!r}: expected s3://bucket/prefix/, file:///folder/ or a path")
    return Path(uri).expanduser().absolute()


class FileStore:
    """Objects as files of a folder, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = folder.as_uri() + "/"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        files = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith(PART_PREFIX))
        with _disk_errors(self.uri):
            found = [StoredObject(path.relative_to(self.folder).as_posix(), path.stat().st_size) for path in files]
        yield from sorted((each for each in found if each.key.startswith(prefix)), key=lambda each: each.key)

    def read(self, key: str) -> bytes:
        with _disk_errors(self.uri + key):
            return self._path(key).read_bytes()

    def write(self, key: str, content: bytes, *, new: bool = False) -> None:
        with _disk_errors(self.uri + key), self._replacing(key, new=new) as part:
            part.write_bytes(content)

    def download(self, key: str, to: Path) -> None:
        with _disk_errors(self.uri + key):
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._path(key), to)

    def upload(self, path: Path, key: str) -> None:
        with _disk_errors(self.uri + key), self._replacing(key, new=False) as part:
            shutil.copyfile(path, part)

    def delete(self, key: str) -> None:
        with _disk_errors(self.uri + key):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / _inside(key, self.uri)

    @contextmanager
    def _replacing(self, key: str, *, new: bool) -> Iterator[Path]:
        """A file to write beside the target, moved there in one step, and flushed to the disk before that."""
        target = self._path(key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=PART_PREFIX)
        except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
            raise StorageRejected(f"{target.parent} is no folder that files can be written to: {error.strerror}") from error
        part = Path(name)
        try:
            yield part
            os.fsync(descriptor)
            part.chmod(0o644)
            if new:
                os.link(part, target)  # unlike a rename, fails if the target is there
            else:
                part.replace(target)
        finally:
            os.close(descriptor)
            part.unlink(missing_ok=True)


def _inside(key: str, uri: str) -> str:
    """The key, unless it leads out of the store. Raises StorageRejected."""
    parts = PurePosixPath(key).parts
    if ".." in parts or parts[:1] == ("/",):
        raise StorageRejected(f"key {key!r} leaves {uri}")
    return key


@contextmanager
def _disk_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ObjectMissing(f"there is no {what}") from error
    except FileExistsError as error:
        raise ObjectExists(f"{what} exists already") from error
    except PermissionError as error:
        raise StorageRejected(f"{what}: {error.strerror}") from error
    except OSError as error:
        raise StorageUnavailable(f"{what}: {error.strerror or error}") from error


class S3Store:
    """Objects of a bucket, below a prefix, at AWS or any endpoint that speaks S3."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix + "/" if prefix else ""
        self.uri = f"s3://{bucket}/{self.prefix}"

    @cached_property
    def _client(self) -> BaseClient:
        import boto3  # a third of a second that a local run need not pay
        from botocore.config import Config

        config = Config(
            # A storage that hangs is given up within a minute, so that a Pod that has to go, and tries to save, still can.
            connect_timeout=10,
            read_timeout=15,
            retries={"mode": "standard", "max_attempts": 3},
            # Stores other than AWS's rarely know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            # A session of its own: boto3's common one keeps the first credentials that it saw, and is not for threads.
            return boto3.session.Session().client("s3", config=config)
        except ValueError as error:  # an endpoint that is no URL
            raise StorageRejected(f"{self.uri}: {error}; AWS_ENDPOINT_URL has to be like http://host:9000") from error

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with _s3_errors(self.uri + prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield StoredObject(entry["Key"].removeprefix(self.prefix), entry["Size"])

    def read(self, key: str) -> bytes:
        with _s3_errors(self.uri + key):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._key(key))
            content: bytes = answer["Body"].read()
            return content

    def write(self, key: str, content: bytes, *, new: bool = False) -> None:
        condition = {"IfNoneMatch": "*"} if new else {}
        with _s3_errors(self.uri + key):
            self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=content, **condition)

    def download(self, key: str, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        with _s3_errors(self.uri + key):
            self._client.download_file(self.bucket, self._key(key), str(to))

    def upload(self, path: Path, key: str) -> None:
        with _s3_errors(self.uri + key):
            self._client.upload_file(str(path), self.bucket, self._key(key))

    def delete(self, key: str) -> None:
        with _s3_errors(self.uri + key):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(key))

    def _key(self, key: str) -> str:
        return self.prefix + _inside(key, self.uri)


@contextmanager
def _s3_errors(what: str) -> Iterator[None]:
    """Translate boto3's errors; the cause is kept."""
    import botocore.exceptions as boto
    from boto3.exceptions import S3UploadFailedError

    try:
        yield
    except boto.ClientError as error:
        raise _from_answer(what, error) from error
    except (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.ParamValidationError,
        boto.ProfileNotFound,
        boto.InvalidRegionError,
    ) as error:
        raise StorageRejected(f"{what}: {error}") from error
    except (boto.BotoCoreError, S3UploadFailedError) as error:
        raise _upload_cause(what, error) from error


def _upload_cause(what: str, error: Exception) -> StorageError:
    cause = error.__context__
    if cause is not None and hasattr(cause, "response"):
        return _from_answer(what, cause)
    return StorageUnavailable(f"{what}: {error}")


def _from_answer(what: str, error: BaseException) -> StorageError:
    response = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ("PreconditionFailed", "ConditionalRequestConflict"):
        return ObjectExists(f"{what} exists already")
    if code == "NoSuchBucket":
        return StorageRejected(f"{what}: there is no such bucket")
    if status == 404:
        return ObjectMissing(f"there is no {what}")
    if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
        return StorageUnavailable(f"{what}: {error}")
    return StorageRejected(f"{what}: {error}")
