"""Choose the files of corrections that a run learns: those that exist when its first attempt, on any node, begins.

Corrections arrive at any time. Without a fixed list, an attempt that is repeated would find other data than the interrupted
one, and be refused, and two nodes of one training would read different texts. The first process to write the list decides.
"""

from __future__ import annotations

import logging

from pydantic import ValidationError

from model.corrections import ENDING
from model.fields import Strict
from model.storage import ObjectExists, ObjectStore, StorageRejected, local_path, open_store
from trainer.config.settings import Config
from trainer.data.tables import counted
from trainer.errors import ConfigRejected, DatasetRejected
from trainer.run.identity import open_run
from trainer.shown_values import shown

log = logging.getLogger(__name__)

SNAPSHOT = "corrections.json"


class Snapshot(Strict):
    """Names of the files below `dataset.corrections`, in order."""

    files: tuple[str, ...]


def open_corrections(uri: str) -> ObjectStore:
    """Return the store of the files of corrections. Raises ConfigRejected if the address is not one of a folder."""
    try:
        store = open_store(uri.rstrip("/") + "/")
        is_file = not uri.startswith("s3://") and local_path(uri).is_file()
    except StorageRejected as error:
        raise ConfigRejected(f"dataset.corrections: {error}") from error
    if is_file:
        raise ConfigRejected(f"dataset.corrections is {uri!r}, a file: expected the folder of the files of corrections")
    return store


def files_to_learn(config: Config, store: ObjectStore) -> tuple[str, ...]:
    """Return the names of the files that this run learns, in order.

    A version that is named learns the same files in each attempt, unless `training.from_scratch`. Raises DatasetRejected if
    one of them no longer exists; StorageError.
    """
    found = tuple(each.key for each in store.list() if each.key.endswith(ENDING) and not _is_hidden(each.key))
    if config.version is None or config.training.from_scratch:
        return found
    run = open_run(config, config.version).store
    try:
        run.write(SNAPSHOT, Snapshot(files=found).model_dump_json().encode(), new=True)
    except ObjectExists:
        return _begun_with(run, found, config)
    return found


def _begun_with(run: ObjectStore, found: tuple[str, ...], config: Config) -> tuple[str, ...]:
    instead = "name another version, or set training.from_scratch"
    try:
        files = Snapshot.model_validate_json(run.read(SNAPSHOT)).files
    except ValidationError as error:
        raise DatasetRejected(f"{run.uri}{SNAPSHOT} is not a list of files of this release; {instead}") from error
    gone = sorted(set(files).difference(found))
    if gone:
        raise DatasetRejected(
            f"dataset.corrections is {config.dataset.corrections!r}: {shown(gone[0], 200)} does not exist any more, and version "
            f"{config.version!r} was begun with it; {instead}"
        )
    if later := len(set(found).difference(files)):
        log.info(
            "%s of corrections came after version %s was begun, and wait for the next version",
            counted(later, "file"),
            config.version,
        )
    return files


def _is_hidden(key: str) -> bool:
    return any(part.startswith((".", "_")) for part in key.split("/"))
