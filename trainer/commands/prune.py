"""`labelwright prune`: delete published versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from model.manifest import Name
from trainer.commands.options import CONFIG_FILE, OVERRIDES, CodedCommand, configure, failures, option
from trainer.commands.result_file import ResultFile
from trainer.config.loading import environment
from trainer.errors import ConfigRejected
from trainer.run import logs
from trainer.run.pruning import prune as delete
from trainer.run.pruning import versions_of


@click.command(cls=CodedCommand, short_help="Delete published versions and their checkpoints.")
@option("--output-dir", setting="output_dir", help="Where versions are published, file:// or s3://.  [default: ./models]")
@option("--name", setting="name", help="The classifier's name.  [default: classifier]")
@click.option("--all", "every", is_flag=True, help="Every version of the classifier.")
@click.argument("versions", nargs=-1, metavar="[VERSION]...")
@OVERRIDES
@CONFIG_FILE
def prune(versions: tuple[str, ...], *, every: bool, overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Delete these versions of a classifier and their checkpoints, and print where each was.

    A version that is not there is fine, so the same command may be run again.
    """
    with ResultFile(environment()) as result, failures():
        config = configure(file, overrides, options)
        logs.configure(config.progress.log_format)
        result.write_to(config.result_file)
        _check(versions, every=every)
        for version in versions_of(config) if every else versions:
            click.echo(delete(config, version))
        result.pruned(config.name)


def _check(versions: tuple[str, ...], *, every: bool) -> None:
    """Raises ConfigRejected for a name that no version has: it might lead elsewhere."""
    if every == bool(versions):
        raise ConfigRejected("expected the versions to delete, or --all")
    for version in versions:
        try:
            TypeAdapter(Name).validate_python(version)
        except ValidationError:
            raise ConfigRejected(
                f"VERSION is {version!r}: expected lower-case letters, digits, '-' and '.', 63 at most"
            ) from None
