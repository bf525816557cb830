"""Object store in an S3 bucket. The only module that imports boto3."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from model.storage.objects import (
    ABANDONED_SECONDS,
    CHUNK_BYTES,
    PART_PREFIX,
    ConcurrentWrite,
    ObjectExists,
    ObjectMissing,
    ObjectTooLarge,
    StorageError,
    StorageRejected,
    StorageUnavailable,
    StoredObject,
    disk_error,
    inside,
    within,
)

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.loaders import Loader
    from botocore.session import Session

log = logging.getLogger(__name__)

CONFLICT_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0)  # before each retry of a write that conflicted with another one


class S3Store:
    """Object store below a prefix of a bucket, at AWS or at any S3 endpoint."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix + "/" if prefix else ""
        self.uri = f"s3://{bucket}/{self.prefix}"

    @cached_property
    def _client(self) -> BaseClient:
        import boto3  # imported here: it takes a third of a second, and local runs do not need it
        from botocore.config import Config

        config = Config(
            # Requests to a storage that hangs fail within a minute, so that a terminating Pod can still save its state.
            connect_timeout=10,
            read_timeout=15,
            retries={"mode": "standard", "max_attempts": 3},
            # Few S3-compatible stores support the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            return boto3.session.Session(botocore_session=_session()).client("s3", config=config)
        except ValueError as error:  # the endpoint is not a URL
            raise StorageRejected(f"{self.uri}: {error}; AWS_ENDPOINT_URL must look like http://host:9000") from error

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with _s3_errors(self.uri + prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield StoredObject(entry["Key"].removeprefix(self.prefix), entry["Size"])

    def read(self, key: str, *, limit: int | None = None) -> bytes:
        with _s3_errors(self.uri + key):
            body = self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            with body:
                content: bytes = body.read(None if limit is None else limit + 1)
            within(limit, len(content), self.uri + key)
            return content

    def stream(self, key: str) -> Iterator[bytes]:
        with _s3_errors(self.uri + key):
            body = self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            with body:
                yield from body.iter_chunks(CHUNK_BYTES)

    def write(self, key: str, content: bytes, *, new: bool = False) -> None:
        if not new:
            with _s3_errors(self.uri + key):
                self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=content)
            return
        try:
            self._create(key, lambda: content)
        except ObjectExists as error:
            if not (error.perhaps_ours and self._has_content(key, content)):
                raise

    def download(self, key: str, to: Path, *, limit: int | None = None) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        part = _partial_path(to)  # fixed name: if the Pod is killed, the next download overwrites it
        counted = None if limit is None else _counting(limit, self.uri + key)
        try:
            with _s3_errors(self.uri + key), part.open("wb") as file:
                if limit is not None:
                    head = self._client.head_object(Bucket=self.bucket, Key=self._key(key))
                    within(limit, head["ContentLength"], self.uri + key)
                self._client.download_fileobj(self.bucket, self._key(key), file, Callback=counted)
            part.replace(to)
        except OSError as error:  # of the local disk; errors of the storage are not OSErrors
            raise disk_error(error, str(to)) from error
        finally:
            part.unlink(missing_ok=True)

    def upload(self, path: Path, key: str, *, new: bool = False) -> None:
        if new:  # one request (at most 5 GiB): not every store checks If-None-Match for multipart uploads
            with path.open("rb") as file:
                self._create(key, lambda: _from_the_beginning(file))
            return
        with _s3_errors(self.uri + key):
            self._client.upload_file(str(path), self.bucket, self._key(key))

    def delete(self, key: str) -> None:
        with _s3_errors(self.uri + key):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(key))

    def tidy(self, *, idle_seconds: float = ABANDONED_SECONDS) -> None:
        begun_before = datetime.now(UTC) - timedelta(seconds=idle_seconds)
        try:
            with _s3_errors(self.uri):
                pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self.prefix)
                uploads = [each for page in pages for each in page.get("Uploads", ()) if each["Initiated"] <= begun_before]
            for each in uploads:
                with suppress(ObjectMissing), _s3_errors(self.uri):  # the upload may have ended in the meantime
                    self._client.abort_multipart_upload(Bucket=self.bucket, Key=each["Key"], UploadId=each["UploadId"])
        except StorageRejected as error:
            log.warning("unfinished multipart uploads could not be deleted: %s", error)

    def _create(self, key: str, body: Callable[[], bytes | BinaryIO]) -> None:
        """Create an object. Raises ObjectExists; ConcurrentWrite if another write was in progress at each attempt."""
        repeated = False
        for pause in (*CONFLICT_PAUSES_SECONDS, None):
            try:
                with _s3_errors(self.uri + key):
                    self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=body(), IfNoneMatch="*")
            except ObjectExists as error:
                error.perhaps_ours = error.perhaps_ours or repeated
                raise
            except ConcurrentWrite:
                if pause is None:
                    raise
                repeated = True  # the write in progress may be our own, whose response was lost
                time.sleep(pause)
            else:
                return

    def _has_content(self, key: str, content: bytes) -> bool:
        try:
            return self.read(key, limit=len(content)) == content
        except (ObjectMissing, ObjectTooLarge):
            return False

    def _key(self, key: str) -> str:
        return self.prefix + inside(key, self.uri)


def _session() -> Session:
    """Return a session for one store: boto3's default one keeps its first credentials and is not thread-safe.

    All share the loader of botocore's files, which are large: a client takes 15 ms instead of 75 ms.
    """
    import botocore.session

    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    return session


@cache
def _loader() -> Loader:
    import botocore.loaders

    return botocore.loaders.create_loader()


@contextmanager
def _s3_errors(address: str) -> Iterator[None]:
    """Raise boto3's errors as StorageErrors."""
    import botocore.exceptions as boto
    from boto3.exceptions import S3UploadFailedError

    try:
        yield
    except boto.ClientError as error:
        raise _from_response(address, error) from error
    except (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.ParamValidationError,
        boto.ProfileNotFound,
        boto.InvalidRegionError,
    ) as error:
        raise StorageRejected(f"{address}: {error}") from error
    except (boto.BotoCoreError, S3UploadFailedError) as error:
        raise _upload_cause(address, error) from error


def _upload_cause(address: str, error: Exception) -> StorageError:
    cause = error.__context__
    if cause is not None and hasattr(cause, "response"):
        return _from_response(address, cause)
    return StorageUnavailable(f"{address}: {error}")


def _from_response(address: str, error: BaseException) -> StorageError:
    response = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "PreconditionFailed":
        exists = ObjectExists(f"{address} exists already")
        exists.perhaps_ours = response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
        return exists
    if code == "ConditionalRequestConflict":  # status 409
        return ConcurrentWrite(f"{address}: another write of it is in progress")
    if status == 404 and code != "NoSuchBucket":
        return ObjectMissing(f"{address} does not exist")
    if code != "NotImplemented" and (status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout")):
        return StorageUnavailable(f"{address}: {error}")
    return StorageRejected(f"{address}: {'there is no such bucket' if code == 'NoSuchBucket' else error}")


def _counting(limit: int, address: str) -> Callable[[int], None]:
    """Return a progress callback for boto3 that raises ObjectTooLarge, and so ends the transfer, beyond `limit` bytes."""
    received = 0

    def count(more: int) -> None:
        nonlocal received
        received += more
        within(limit, received, address)

    return count


def _partial_path(target: Path) -> Path:
    name = target.name.encode()[:200].decode(errors="ignore")  # a name may have 255 bytes
    return target.with_name(f"{PART_PREFIX}{name}")


def _from_the_beginning(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file
