"""Save a training's state to object storage and restore it, only if it is complete.

This module knows folders and objects, and not what their files mean. Layout below the run's store (trainer.run.identity):
`STEP/…` holds the files of a step. `STEP/index.json` is written last and holds their checksums.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from model.artifact import file_entry
from model.fields import Strict
from model.manifest import FileEntry
from model.storage import ObjectMissing, ObjectStore
from trainer.run.identity import INDEX

log = logging.getLogger(__name__)

# Number of a run's newest checkpoints that stay in the storage; if the newest is damaged, the previous one is used. On the
# trainer's own disk, `save_total_limit` in trainer/architectures/transformer/fine_tuning.py is the limit. Which runs and versions
# are kept is decided in k8s/controller/decisions/retention.py.
KEEP = 2


class Index(Strict):
    """Last object of a checkpoint. If it exists, the checkpoint is complete.

    best_step: the step with the best validation score so far; its checkpoint is kept too.
    """

    step: int
    best_step: int
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Restored:
    """A fetched checkpoint. best: folder of the best step; `folder` if there is no other."""

    folder: Path
    step: int
    best: Path
    best_step: int


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, store: ObjectStore) -> None:
        """Use the run's own store."""
        self._store = store

    def save(self, folder: Path, *, step: int, best_step: int) -> None:
        """Upload the folder's files as the checkpoint of `step`. All checkpoints but the last two and the best are deleted."""
        files = {}
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            name = path.relative_to(folder).as_posix()
            files[name] = file_entry(path)
            self._store.upload(path, f"{step:09d}/{name}")
        index = Index(step=step, best_step=best_step, files=files)
        self._store.write(f"{step:09d}/{INDEX}", index.model_dump_json().encode())
        self._prune()

    def latest(self, scratch: Path) -> Restored | None:
        """Fetch the newest complete checkpoint into folders below `scratch`, or return None. Log why others are skipped."""
        indexes = self._indexes()
        for index in reversed(indexes):
            folder = self._fetch(index, scratch)
            if folder:
                return self._with_best(index, folder, indexes, scratch)
        if any("/" in each.key for each in self._store.list()):
            log.warning("there is no complete checkpoint in %s: the training starts from the beginning", self._store.uri)
        return None

    def _with_best(self, index: Index, folder: Path, indexes: list[Index], scratch: Path) -> Restored:
        fetched = (self._fetch(each, scratch) for each in indexes if each.step == index.best_step != index.step)
        best = next(fetched, None)
        if best is None:
            return Restored(folder, index.step, folder, index.step)
        return Restored(folder, index.step, best, index.best_step)

    def _fetch(self, index: Index, scratch: Path) -> Path | None:
        folder = scratch / f"{index.step:09d}"
        for name, expected in index.files.items():
            try:
                self._store.download(f"{index.step:09d}/{name}", folder / name)
            except ObjectMissing:
                log.warning("the checkpoint of step %d lacks %s: it is skipped", index.step, name)
                return None
            if file_entry(folder / name) != expected:
                log.warning("%s of the checkpoint of step %d is altered: the checkpoint is skipped", name, index.step)
                return None
        return folder

    def _indexes(self) -> list[Index]:
        """Indexes of all complete checkpoints, by step."""
        keys = [each.key for each in self._store.list() if each.key.endswith(f"/{INDEX}")]
        indexes = [self._read(key) for key in keys]
        return sorted((each for each in indexes if each), key=lambda each: each.step)

    def _read(self, key: str) -> Index | None:
        try:
            return Index.model_validate_json(self._store.read(key))
        except (ObjectMissing, ValidationError):  # just deleted by another process, or of another release
            return None

    def _prune(self) -> None:
        """Delete older checkpoints and those that earlier attempts uploaded in part."""
        newest = self._indexes()[-KEEP:]
        keep = {each.step for each in newest} | {each.best_step for each in newest}
        steps = {int(name) for each in self._store.list() if (name := each.key.split("/", 1)[0]).isdecimal()}
        for step in sorted(steps - keep):
            self._delete(step)

    def _delete(self, step: int) -> None:
        folder = f"{step:09d}/"
        self._store.delete(folder + INDEX)  # first: an index must not name files that are gone
        for each in list(self._store.list(folder)):
            self._store.delete(each.key)
