"""Save a training's state to object storage and find it again: whole, or not at all.

Knows folders and objects, and nothing of what the files in them mean. Layout below the run's store (trainer.run.identity):
`STEP/…` holds the files of a step, and `STEP/index.json`, written last, their checksums.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from model.artifact import file_entry
from model.manifest import FileEntry, Strict
from model.storage import ObjectMissing, ObjectStore
from trainer.run.identity import INDEX

log = logging.getLogger(__name__)

KEEP = 2  # the newest may be damaged; the one before it is at hand


class Index(Strict):
    """A checkpoint's last object: it is there, so the checkpoint is complete.

    best_step: the step with the best validation score so far; its checkpoint is kept, too.
    """

    step: int
    best_step: int
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Restored:
    """A checkpoint that was fetched: `folder`, and `best`, the folder of the best step, the same if there is no other."""

    folder: Path
    step: int
    best: Path
    best_step: int


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, store: ObjectStore) -> None:
        """`store`: the run's own."""
        self._store = store

    def save(self, folder: Path, *, step: int, best_step: int) -> None:
        """Put the folder's files as the checkpoint of `step`; older ones than the last two and the best are deleted."""
        files = {}
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            name = path.relative_to(folder).as_posix()
            files[name] = file_entry(path)
            self._store.upload(path, f"{step:09d}/{name}")
        index = Index(step=step, best_step=best_step, files=files)
        self._store.write(f"{step:09d}/{INDEX}", index.model_dump_json().encode())
        self._prune()

    def latest(self, scratch: Path) -> Restored | None:
        """The newest checkpoint that is whole, in folders below `scratch`, or None; logs why others are passed over."""
        indexes = self._indexes()
        for index in reversed(indexes):
            folder = self._fetch(index, scratch)
            if folder:
                return self._with_best(index, folder, indexes, scratch)
        if any("/" in each.key for each in self._store.list()):
            log.warning("there is no whole checkpoint in %s: the training begins anew", self._store.uri)
        return None

    def _with_best(self, index: Index, folder: Path, indexes: list[Index], scratch: Path) -> Restored:
        found = (self._fetch(each, scratch) for each in indexes if each.step == index.best_step != index.step)
        best = next(found, None)
        if best is None:
            return Restored(folder, index.step, folder, index.step)
        return Restored(folder, index.step, best, index.best_step)

    def _fetch(self, index: Index, scratch: Path) -> Path | None:
        folder = scratch / f"{index.step:09d}"
        for name, expected in index.files.items():
            try:
                self._store.download(f"{index.step:09d}/{name}", folder / name)
            except ObjectMissing:
                log.warning("the checkpoint of step %d lacks %s: it is passed over", index.step, name)
                return None
            if file_entry(folder / name) != expected:
                log.warning("the checkpoint of step %d is altered in %s: it is passed over", index.step, name)
                return None
        return folder

    def _indexes(self) -> list[Index]:
        """Of every complete checkpoint, by step."""
        keys = [each.key for each in self._store.list() if each.key.endswith(f"/{INDEX}")]
        found = [self._read(key) for key in keys]
        return sorted((each for each in found if each), key=lambda each: each.step)

    def _read(self, key: str) -> Index | None:
        try:
            return Index.model_validate_json(self._store.read(key))
        except (ObjectMissing, ValidationError):  # just deleted by another process, or of another release
            return None

    def _prune(self) -> None:
        """Delete the older checkpoints, and what earlier attempts have left half uploaded."""
        newest = self._indexes()[-KEEP:]
        keep = {each.step for each in newest} | {each.best_step for each in newest}
        steps = {int(name) for each in self._store.list() if (name := each.key.split("/", 1)[0]).isdecimal()}
        for step in sorted(steps - keep):
            self._delete(step)

    def _delete(self, step: int) -> None:
        folder = f"{step:09d}/"
        self._store.delete(folder + INDEX)  # first: an index never names what is gone
        for each in list(self._store.list(folder)):
            self._store.delete(each.key)
