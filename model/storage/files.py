"""Object store in a folder."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.storage.objects import (
    ABANDONED_SECONDS,
    CHUNK_BYTES,
    PART_PREFIX,
    ObjectExists,
    ObjectMissing,
    StorageRejected,
    StoredObject,
    disk_error,
    inside,
    within,
)

log = logging.getLogger(__name__)


class FileStore:
    """Object store in a folder, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = folder.as_uri() + "/"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        files = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith(PART_PREFIX))
        with _disk_errors(self.uri):
            objects = [StoredObject(path.relative_to(self.folder).as_posix(), path.stat().st_size) for path in files]
        yield from sorted((each for each in objects if each.key.startswith(prefix)), key=lambda each: each.key)

    def read(self, key: str, *, limit: int | None = None) -> bytes:
        with _disk_errors(self.uri + key), self._path(key).open("rb") as file:
            content = file.read(-1 if limit is None else limit + 1)
        within(limit, len(content), self.uri + key)
        return content

    def stream(self, key: str) -> Iterator[bytes]:
        with _disk_errors(self.uri + key), self._path(key).open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    def write(self, key: str, content: bytes, *, new: bool = False) -> None:
        with _disk_errors(self.uri + key), self._replacing(key, new=new) as part:
            part.write_bytes(content)

    def download(self, key: str, to: Path, *, limit: int | None = None) -> None:
        with _disk_errors(self.uri + key):
            within(limit, self._path(key).stat().st_size, self.uri + key)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._path(key), to)

    def upload(self, path: Path, key: str, *, new: bool = False) -> None:
        with _disk_errors(self.uri + key), self._replacing(key, new=new) as part:
            shutil.copyfile(path, part)

    def delete(self, key: str) -> None:
        with _disk_errors(self.uri + key):
            self._path(key).unlink(missing_ok=True)

    def tidy(self, *, idle_seconds: float = ABANDONED_SECONDS) -> None:
        written_before = time.time() - idle_seconds
        for part in self.folder.rglob(f"{PART_PREFIX}*"):
            try:
                if part.is_file() and part.stat().st_mtime <= written_before:
                    part.unlink()
            except FileNotFoundError:  # its writer has finished, or another process has deleted it
                continue
            except OSError as error:
                log.warning("%s was left by a killed writer and cannot be deleted: %s", part, error.strerror)

    def _path(self, key: str) -> Path:
        return self.folder / inside(key, self.uri)

    @contextmanager
    def _replacing(self, key: str, *, new: bool) -> Iterator[Path]:
        """Yield a temporary file beside the target. On exit it is flushed to the disk and replaces the target in one step."""
        target = self._path(key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=PART_PREFIX)
        except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
            raise StorageRejected(f"{target.parent} is not a folder for files: {error.strerror}") from error
        part = Path(name)
        try:
            yield part
            os.fsync(descriptor)
            part.chmod(0o644)
            if new:
                os.link(part, target)  # unlike a rename, this fails if the target exists
            else:
                part.replace(target)
        finally:
            os.close(descriptor)
            part.unlink(missing_ok=True)


@contextmanager
def _disk_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ObjectMissing(f"{what} does not exist") from error
    except FileExistsError as error:
        raise ObjectExists(f"{what} exists already") from error
    except OSError as error:
        raise disk_error(error, what) from error
