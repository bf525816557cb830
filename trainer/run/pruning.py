"""Delete published versions: the manifest first, so that what is half deleted is no version.

Deletes what a version is known to consist of, and its checkpoints; whatever else lies there stays.
"""

from __future__ import annotations

import logging

from model.artifact import MANIFEST, ArtifactRejected, is_of_a_version, read_published
from model.storage import ObjectMissing, ObjectStore, open_store
from trainer.config.settings import Config
from trainer.run.identity import open_run, version_store

log = logging.getLogger(__name__)


def versions_of(config: Config) -> list[str]:
    """Every version of the classifier of which something is left, if only checkpoints. Raises StorageError."""
    output = config.output_dir.rstrip("/")
    places = (each.key.split("/") for each in open_store(f"{output}/{config.name}/").list())
    published = {place[0] for place in places if len(place) == 2 and is_of_a_version(place[1])}
    begun = open_store(f"{output}/checkpoints/{config.name}/").list()
    return sorted(published | {each.key.split("/")[0] for each in begun if "/" in each.key})


def prune(config: Config, version: str) -> str:
    """Delete this version of the classifier, whether or not there is one, and return where it was. Raises StorageError."""
    store = version_store(config, version)
    named = _named(store)
    there = {each.key for each in store.list() if each.key in named or is_of_a_version(each.key)}
    for name in sorted(there, key=lambda name: (name != MANIFEST, name)):
        store.delete(name)
    store.tidy(idle_seconds=0)
    open_run(config, version).forget()
    log.info("%s is deleted" if there else "there is no version at %s", store.uri)
    return store.uri


def _named(store: ObjectStore) -> set[str]:
    """The objects that the version's manifest names, beside those that any version may have."""
    try:
        manifest = read_published(store).manifest
    except (ObjectMissing, ArtifactRejected):  # half deleted, half published, or of a later release
        return set()
    return set(map(manifest.stored, manifest.files))
