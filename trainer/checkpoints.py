"""Save a training's state to object storage and find it again: whole, and of the same training, or not at all.

Knows folders and objects, and nothing of what the files in them mean. Layout below `OUTPUT/checkpoints/NAME/`:
`FINGERPRINT/STEP/…` holds the files of a step, and `FINGERPRINT/STEP/index.json`, written last, their checksums. The
fingerprint follows from the settings that decide the result and from the dataset's content, so that trainings of
different settings, one after the other or at the same time, never meet.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from model.artifact import file_entry
from model.manifest import FileEntry, Strict
from model.storage import ObjectMissing, ObjectStore, open_store
from trainer.config import Config

log = logging.getLogger(__name__)

INDEX = "index.json"
KEEP = 2  # the newest may be damaged; the one before it is at hand
# Settings under which a training may go on that was begun with others.
INDIFFERENT = {"architecture", "tolerance", "from_scratch"}


class Index(Strict):
    """A checkpoint's last object: it is there, so the checkpoint is complete.

    run: the settings and the dataset of the training, by name.
    best_step: the step with the best validation score so far; its checkpoint is kept, too.
    """

    step: int
    best_step: int
    run: dict[str, Any]
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

    def __init__(self, store: ObjectStore, run: dict[str, Any]) -> None:
        """`store`: shared by all trainings of a classifier. `run`: what tells this one from the others, JSON values."""
        self._store = store
        self._run = run
        self._prefix = f"{fingerprint(run)}/"

    @classmethod
    def of(cls, config: Config, *, dataset_sha256: str) -> Self:
        """The checkpoints of the training of this configuration on this content. Raises StorageRejected."""
        store = open_store(f"{config.output_dir.rstrip('/')}/checkpoints/{config.name}/")
        return cls(store, describe_run(config, dataset_sha256))

    def save(self, folder: Path, *, step: int, best_step: int) -> None:
        """Put the folder's files as the checkpoint of `step`; older ones than the last two and the best are deleted."""
        files = {}
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            name = path.relative_to(folder).as_posix()
            files[name] = file_entry(path)
            self._store.upload(path, f"{self._prefix}{step:09d}/{name}")
        index = Index(step=step, best_step=best_step, run=self._run, files=files)
        self._store.write(f"{self._prefix}{step:09d}/{INDEX}", index.model_dump_json().encode())
        self._prune()

    def latest(self, scratch: Path) -> Restored | None:
        """The newest checkpoint that is whole, in folders below `scratch`, or None; logs why others are passed over."""
        indexes = self._indexes(self._prefix)
        for index in reversed(indexes):
            folder = self._fetch(index, scratch)
            if folder:
                return self._with_best(index, folder, indexes, scratch)
        if not indexes:
            self._report_others()
        return None

    def clear(self) -> None:
        """Delete every checkpoint of this training."""
        keys = [each.key for each in self._store.list(self._prefix)]
        for key in sorted(keys, key=lambda key: not key.endswith(INDEX)):  # an index never names what is gone
            self._store.delete(key)

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
                self._store.download(f"{self._prefix}{index.step:09d}/{name}", folder / name)
            except ObjectMissing:
                log.warning("the checkpoint of step %d lacks %s: it is passed over", index.step, name)
                return None
            if file_entry(folder / name) != expected:
                log.warning("the checkpoint of step %d is altered in %s: it is passed over", index.step, name)
                return None
        return folder

    def _indexes(self, prefix: str) -> list[Index]:
        """Of every complete checkpoint below `prefix`, by step."""
        keys = [each.key for each in self._store.list(prefix) if each.key.endswith(f"/{INDEX}")]
        found = [self._read(key) for key in keys]
        return sorted((each for each in found if each), key=lambda each: each.step)

    def _read(self, key: str) -> Index | None:
        try:
            return Index.model_validate_json(self._store.read(key))
        except (ObjectMissing, ValidationError):  # just deleted by another process, or of another release
            return None

    def _prune(self) -> None:
        indexes = self._indexes(self._prefix)
        newest = indexes[-KEEP:]
        keep = {each.step for each in newest} | {each.best_step for each in newest}
        for index in indexes:
            if index.step not in keep:
                self._delete(index.step)

    def _delete(self, step: int) -> None:
        folder = f"{self._prefix}{step:09d}/"
        self._store.delete(folder + INDEX)
        for each in list(self._store.list(folder)):
            self._store.delete(each.key)

    def _report_others(self) -> None:
        for run in {fingerprint(each.run): each.run for each in self._indexes("")}.values():
            log.info("checkpoints of another training are not resumed: %s", "; ".join(differences(run, self._run)))


def describe_run(config: Config, dataset_sha256: str) -> dict[str, Any]:
    """What decides the result of a training: settings by name, and the content of the dataset."""
    sections = config.model_dump(mode="json", include={"dataset", "split", "training", "balance"})
    named = {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}
    for indifferent in ("dataset.uri", *(f"training.{each}" for each in INDIFFERENT)):
        del named[indifferent]
    return {**named, "dataset.sha256": dataset_sha256}


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """A sentence part for each field in which two trainings differ."""
    fields = sorted(theirs.keys() | ours.keys())
    return [
        f"{field} was {theirs.get(field)!r}, is {ours.get(field)!r}" for field in fields if theirs.get(field) != ours.get(field)
    ]


def fingerprint(run: dict[str, Any]) -> str:
    """The same for the same description, and different for any other."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
