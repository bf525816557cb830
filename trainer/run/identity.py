"""Identity of a run: the same settings on the same data under one version. A run may take several attempts.

The first attempt writes `OUTPUT/checkpoints/NAME/VERSION/run.json`, next to the checkpoints. A later attempt stops if it
finds other settings or other data there.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from model.artifact import PublishedVersion, read_published
from model.fields import Sha256, Strict
from model.storage import ObjectExists, ObjectMissing, ObjectStore, open_store
from trainer.config.settings import Config
from trainer.errors import ConfigRejected, DatasetRejected

log = logging.getLogger(__name__)

RECORD = "run.json"
INDEX = "index.json"  # of a checkpoint, the last of its objects
# Settings that choose among fitted models. They do not change a partly trained transformer.
CHOOSING = {"architecture", "selection_tolerance"}
# Settings that do not change a run: addresses (the content is compared instead), and whether the run starts from scratch.
INDIFFERENT = {"dataset.uri", "dataset.test_uri", "dataset.corrections", "training.from_scratch", "training.token_cache"}


class Record(Strict):
    """Settings and hashes that determine the result of a run."""

    settings: dict[str, Any]
    dataset_sha256: Sha256
    test_sha256: Sha256 | None = None
    corrections_sha256: Sha256 | None = None
    seen_sha256: Sha256 | None = None  # of the served version's text hashes, on which the split depends


@dataclass(frozen=True)
class Run:
    """A run that this or an earlier attempt has begun. store: of its record and its checkpoints."""

    version: str
    store: ObjectStore

    def forget(self) -> None:
        """Delete the record and every checkpoint. Raises StorageError."""
        keys = [each.key for each in self.store.list()]
        for key in sorted(keys, key=lambda key: (key == RECORD, not key.endswith(INDEX))):  # indexes first
            self.store.delete(key)
        self.store.tidy(idle_seconds=0)


def version_store(config: Config, version: str) -> ObjectStore:
    """Return the store of that version. Raises StorageRejected."""
    return open_store(f"{config.output_dir.rstrip('/')}/{config.name}/{version}/")


def find_published(config: Config) -> PublishedVersion | None:
    """Return the version that the configuration names, if a run with the same settings has published it.

    Return None if the version does not exist or the configuration names none. Raises ObjectExists if the version has other
    settings or another dataset (addresses are compared, not contents); StorageError.
    """
    if config.version is None:
        return None
    store = version_store(config, config.version)
    try:
        published = read_published(store)
    except ObjectMissing:
        return None
    manifest = published.manifest
    if manifest.training.settings_sha256 != settings_sha256(config):
        raise ObjectExists(f"{store.uri} is already published, with other settings; a version never changes")
    dataset = manifest.dataset
    theirs = {
        "dataset.uri": dataset.uri,
        "dataset.test_uri": dataset.test.uri if dataset.test else None,
        "dataset.corrections": dataset.corrections.uri if dataset.corrections else None,
    }
    if different := differences(theirs, _addresses(config)):
        raise ObjectExists(
            f"{store.uri} is already published, from another dataset: {'; '.join(different)}; "
            "a version never changes, name another"
        )
    return published


def begin(
    config: Config,
    *,
    dataset_sha256: str,
    test_sha256: str | None = None,
    corrections_sha256: str | None = None,
    seen_sha256: str | None = None,
    now: datetime,
) -> Run:
    """Return the interrupted run of this configuration on this content, or begin a new one.

    If the configuration names no version, the newest interrupted run with the same settings and data is resumed; if there
    is none, the version is named after the time. Raises ConfigRejected or DatasetRejected if the named version was begun
    with other settings or data (unless `training.from_scratch`); StorageError.
    """
    record = Record(
        settings=result_settings(config),
        dataset_sha256=dataset_sha256,
        test_sha256=test_sha256,
        corrections_sha256=corrections_sha256,
        seen_sha256=seen_sha256,
    )
    if config.version is not None:
        return _begin(config, config.version, record)
    interrupted = None if config.training.from_scratch else _interrupted(config, record)
    return interrupted or _begin(config, f"{now:%Y%m%d-%H%M%S}", record)


def open_run(config: Config, version: str) -> Run:
    """Return the run of that version, whether or not it was begun. Raises StorageRejected."""
    return Run(version, open_store(f"{_folder(config)}{version}/"))


def result_settings(config: Config) -> dict[str, Any]:
    """Return the settings that determine the result of a training, by name."""
    named = _named(config, {"dataset", "split", "balance", "training"})
    return {name: value for name, value in named.items() if name.removeprefix("training.") not in CHOOSING}


def settings_sha256(config: Config) -> str:
    """Return a hash of the settings that determine what is published. All attempts of a run have the same."""
    named = _named(config, {"dataset", "split", "balance", "training", "linear"})
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Return a clause for each field in which the settings of two runs differ."""
    fields = sorted(theirs.keys() | ours.keys())
    return [
        f"{field} was {theirs.get(field)!r}, is {ours.get(field)!r}" for field in fields if theirs.get(field) != ours.get(field)
    ]


def _addresses(config: Config) -> dict[str, str | None]:
    """Return the addresses of a run's data by their settings."""
    return {f"dataset.{name}": getattr(config.dataset, name) for name in ("uri", "test_uri", "corrections")}


def _named(config: Config, sections: set[str]) -> dict[str, Any]:
    dumped = config.model_dump(mode="json", include=sections)
    named = {f"{section}.{key}": value for section, values in dumped.items() for key, value in values.items()}
    if config.gate.served_uri:  # the test part depends on it; left out if not set, as in older versions
        named["gate.served_uri"] = config.gate.served_uri
    return {name: value for name, value in named.items() if name not in INDIFFERENT}


def _folder(config: Config) -> str:
    return f"{config.output_dir.rstrip('/')}/checkpoints/{config.name}/"


def _begin(config: Config, version: str, record: Record) -> Run:
    run = open_run(config, version)
    run.store.tidy()
    theirs = _read(run.store, RECORD)
    saved = any(each.key.endswith(f"/{INDEX}") for each in run.store.list())
    if saved and theirs is None:
        log.warning("the checkpoints of version %s have no readable %s: they are not resumed", version, RECORD)
    if config.training.from_scratch or (saved and theirs is None):
        run.forget()
    elif theirs is not None:
        _require_same(theirs, record, config, version, saved=saved)
    if theirs != record or config.training.from_scratch:
        run.store.write(RECORD, record.model_dump_json(indent=1).encode())
    return run


def _require_same(theirs: Record, ours: Record, config: Config, version: str, *, saved: bool) -> None:
    """Raise ConfigRejected for other settings, if a checkpoint was saved with them, and DatasetRejected for other data."""
    instead = "name another version, or set training.from_scratch"
    different = differences(theirs.settings, ours.settings)
    if different and saved:
        raise ConfigRejected(f"version {version!r} was begun with another configuration: {'; '.join(different)}; {instead}")
    if saved and theirs.seen_sha256 != ours.seen_sha256:
        raise DatasetRejected(
            f"gate.served_uri is {config.gate.served_uri!r}: its list of seen texts has changed since version {version!r} was "
            f"begun, and with it the test part; {instead}"
        )
    for setting, was, is_now in (
        ("dataset.uri", theirs.dataset_sha256, ours.dataset_sha256),
        ("dataset.test_uri", theirs.test_sha256, ours.test_sha256),
        ("dataset.corrections", theirs.corrections_sha256, ours.corrections_sha256),
    ):
        if was != is_now:
            uri = _addresses(config)[setting]
            raise DatasetRejected(
                f"{setting} is {uri!r}: its content has changed since version {version!r} was begun, SHA-256 was "
                f"{was}, is {is_now}; {instead}"
            )


def _interrupted(config: Config, record: Record) -> Run | None:
    """Return the newest run with these settings and data that has a checkpoint."""
    store = open_store(_folder(config))
    versions = {each.key.split("/", 1)[0] for each in store.list() if each.key.endswith(f"/{INDEX}")}
    for version in sorted(versions, reverse=True):
        theirs = _read(store, f"{version}/{RECORD}")
        if theirs is None:
            continue
        different = differences(theirs.settings, record.settings)
        if (theirs.dataset_sha256, theirs.test_sha256) != (record.dataset_sha256, record.test_sha256):
            different.append(f"the dataset's SHA-256 was {theirs.dataset_sha256[:12]}…, is {record.dataset_sha256[:12]}…")
        if theirs.corrections_sha256 != record.corrections_sha256:
            different.append("the corrections have changed")
        if theirs.seen_sha256 != record.seen_sha256:
            different.append("the list of texts that the served version has seen has changed")
        if not different:
            log.info("resuming version %s, which was interrupted", version)
            return open_run(config, version)
        log.info("version %s was interrupted, but is not resumed: %s", version, "; ".join(different))
    return None


def _read(store: ObjectStore, key: str) -> Record | None:
    try:
        return Record.model_validate_json(store.read(key))
    except (ObjectMissing, ValidationError):  # just deleted by another process, or of another release
        return None
