"""The command `labelwright prune`: delete published versions and their checkpoints."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from model.artifact import MANIFEST, ArtifactRejected, is_of_a_version, read_published
from model.fields import Name
from model.storage import ObjectMissing, ObjectStore, open_store
from trainer.commands.exit_codes import CodedCommand, failures
from trainer.commands.options import CONFIG_FILE, OVERRIDES, configure, option
from trainer.commands.result_file import ResultFile
from trainer.config.loading import environment
from trainer.config.settings import Config
from trainer.errors import ConfigRejected
from trainer.run import logs
from trainer.run.identity import open_run, version_store

log = logging.getLogger(__name__)


@click.command(cls=CodedCommand, short_help="Delete published versions and their checkpoints.")
@option("--output-dir", setting="output_dir", help="Where versions are published, file:// or s3://.  [default: ./models]")
@option("--name", setting="name", help="The classifier's name.  [default: classifier]")
@click.option("--all", "every", is_flag=True, help="Delete every version of the classifier.")
@click.argument("versions", nargs=-1, metavar="[VERSION]...")
@OVERRIDES
@CONFIG_FILE
def prune(versions: tuple[str, ...], *, every: bool, overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Delete versions of a classifier and their checkpoints, and print their URIs.

    A version that does not exist is not an error, so the command may be repeated.
    """
    with ResultFile(environment()) as result, failures():
        config = configure(file, overrides, options)
        logs.configure(config.progress.log_format)
        result.write_to(config.result_file)
        _check(versions, every=every)
        for version in versions_of(config) if every else versions:
            click.echo(delete_version(config, version))
        result.pruned(config.name)


def _check(versions: tuple[str, ...], *, every: bool) -> None:
    """Raise ConfigRejected for a name that no version can have: as part of a path it could point elsewhere."""
    if every == bool(versions):
        raise ConfigRejected("expected the versions to delete, or --all")
    for version in versions:
        try:
            TypeAdapter(Name).validate_python(version)
        except ValidationError:
            raise ConfigRejected(
                f"VERSION is {version!r}: expected lower-case letters, digits, '-' and '.', 63 at most"
            ) from None


def versions_of(config: Config) -> list[str]:
    """Return the versions of the classifier that have any files or checkpoints. Raises StorageError."""
    output = config.output_dir.rstrip("/")
    places = (each.key.split("/") for each in open_store(f"{output}/{config.name}/").list())
    published = {place[0] for place in places if len(place) == 2 and is_of_a_version(place[1])}
    begun = open_store(f"{output}/checkpoints/{config.name}/").list()
    return sorted(published | {each.key.split("/")[0] for each in begun if "/" in each.key})


def delete_version(config: Config, version: str) -> str:
    """Delete this version of the classifier and its checkpoints, and return its URI. Raises StorageError.

    The manifest is deleted first, so that a partly deleted version does not count as published. A version that does not
    exist is not an error. Files that do not belong to a version are kept.
    """
    store = version_store(config, version)
    named = _named(store)
    there = {each.key for each in store.list() if each.key in named or is_of_a_version(each.key)}
    for name in sorted(there, key=lambda name: (name != MANIFEST, name)):
        store.delete(name)
    store.tidy(idle_seconds=0)
    open_run(config, version).forget()
    log.info("deleted %s" if there else "there is no version at %s", store.uri)
    return store.uri


def _named(store: ObjectStore) -> set[str]:
    """Return the names of the objects that the version's manifest lists."""
    try:
        manifest = read_published(store).manifest
    except (ObjectMissing, ArtifactRejected):  # partly deleted, partly published, or of a later release
        return set()
    return set(map(manifest.stored, manifest.files))
