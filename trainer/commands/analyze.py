"""The command `labelwright analyze`."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import click

from model.artifact import require_writable
from model.storage import ObjectStore, StorageRejected, local_path, open_store
from trainer.commands.exit_codes import CodedCommand, failures
from trainer.commands.options import CONFIG_FILE, LABEL_COLUMN, OVERRIDES, TEXT_COLUMNS, configure
from trainer.run import logs

log = logging.getLogger(__name__)


@click.command(name="analyze", cls=CodedCommand, short_help="Write a report about a dataset, to read before training.")
@click.argument("dataset__uri", metavar="[DATASET]", required=False)
@TEXT_COLUMNS
@LABEL_COLUMN
@click.option("--output", default="analysis.html", show_default=True, help="File to write: a path, file:// or s3://.")
@OVERRIDES
@CONFIG_FILE
def analyze(output: str, overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Write an HTML page about a dataset: labels, lengths, duplicates, suspicious rows and suggested settings.

    DATASET is an address as for train --dataset. The page's URI is the only line on standard output. The suggestions are
    also written to standard error.

    \b
    Exit codes: 0 written, 64 a setting is wrong, 65 the dataset is wrong,
    75 a temporary failure, such as a storage that cannot be reached.
    """
    with failures(), tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        config = configure(file, overrides, options)
        logs.configure(config.progress.log_format)
        store, key, uri = destination(output)
        require_writable(store)  # fail now rather than at the end
        from trainer.analysis.findings import analyse
        from trainer.analysis.page import render
        from trainer.analysis.suggestions import suggest

        found = analyse(config, scratch=Path(scratch))
        suggestions = suggest(found, config)
        store.write(key, render(found, suggestions, config).encode())
        for note in found.notes:
            log.info("%s", note)
        for each in suggestions:
            log.info("suggestion: %s %s", each.advice, each.reason)
    click.echo(uri)


def destination(output: str) -> tuple[ObjectStore, str, str]:
    """Return the page's store, its key there, and its URI. Raises StorageRejected if `output` is not a file's address."""
    if output.startswith("s3://"):
        folder, _, name = output.rpartition("/")
        if not name or folder == "s3:/":
            raise StorageRejected(f"--output {output!r} names no page: expected s3://bucket/prefix/analysis.html")
        return open_store(folder), name, output
    path = local_path(output)
    if output.endswith("/") or path.is_dir():
        raise StorageRejected(
            f"--output {output!r} is a folder: expected a file in it, such as {output.rstrip('/')}/analysis.html"
        )
    return open_store(path.parent.as_uri()), path.name, path.as_uri()
