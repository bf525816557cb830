"""Read the files of corrections of a run, and keep the latest correction of each text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from model.corrections import Correction, CorrectionsRejected, in_force, latest, read_corrections_file
from model.storage import ObjectMissing, ObjectStore
from trainer.config.settings import Config
from trainer.corrections.snapshot import files_to_learn, open_corrections
from trainer.errors import DatasetRejected

READS_AT_ONCE = 8
FILES_AT_ONCE = 64


@dataclass(frozen=True)
class ReadCorrections:
    """Corrections in force, one for each text, and the numbers of what was read. sha256: of the files."""

    uri: str
    sha256: str
    files: int
    rows: int
    withdrawn: int
    in_force: tuple[Correction, ...]


def read_corrections(config: Config) -> ReadCorrections:
    """Read the corrections of `dataset.corrections`. A folder without files is no error: there may be no corrections yet.

    Raises ConfigRejected, StorageError; DatasetRejected, with the key, for a file that is cut off or altered.
    """
    uri = config.dataset.corrections
    if uri is None:
        raise ValueError("dataset.corrections is not set")
    store = open_corrections(uri)
    names = files_to_learn(config, store)
    digest, rows = hashlib.sha256(), list[Correction]()
    try:
        for name, content in _contents(store, names):
            digest.update(content)
            rows += read_corrections_file(name, content)
    except (CorrectionsRejected, ObjectMissing) as error:  # missing: deleted since it was listed
        raise DatasetRejected(f"dataset.corrections {uri!r}: {error}") from error
    newest = latest(rows)
    withdrawn = sum(each.withdrawn for each in newest)
    return ReadCorrections(uri, digest.hexdigest(), len(names), len(rows), withdrawn, in_force(newest))


def _contents(store: ObjectStore, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield each file's name and content, in order. A few files at a time are in memory."""
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        for start in range(0, len(names), FILES_AT_ONCE):
            some = names[start : start + FILES_AT_ONCE]
            yield from zip(some, pool.map(store.read, some), strict=True)
