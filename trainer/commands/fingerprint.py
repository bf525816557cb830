"""The command `labelwright fingerprint`: print a dataset's SHA-256. It runs often, so it imports nothing that reads texts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from trainer.commands.exit_codes import CodedCommand, failures
from trainer.commands.options import CONFIG_FILE, OVERRIDES, configure, option
from trainer.commands.result_file import ResultFile
from trainer.config.loading import environment
from trainer.data.download import fingerprint as read_fingerprint
from trainer.run import logs


@click.command(cls=CodedCommand, short_help="Print the SHA-256 of a dataset's content.")
@option("--dataset", setting="dataset.uri", help="Labelled texts, as for train.")
@option("--test-dataset", setting="dataset.test_uri", help="A test set, as for train.")
@OVERRIDES
@CONFIG_FILE
def fingerprint(overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Print the SHA-256 of a dataset's content and its address; on a second line, those of its test set.

    A version's manifest holds the same hash, beside that of corrections if there are any. If it has not changed, the dataset
    has not.
    """
    with ResultFile(environment()) as result, failures(), tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        config = configure(file, overrides, options)
        logs.configure(config.progress.log_format)
        result.write_to(config.result_file)
        dataset, test = config.dataset.uri, config.dataset.test_uri
        sha256 = read_fingerprint(dataset, scratch=Path(scratch))
        test_sha256 = read_fingerprint(test, scratch=Path(scratch), setting="dataset.test_uri") if test else None
        result.checked(dataset_sha256=sha256, test_sha256=test_sha256)
    click.echo(f"{sha256}  {dataset}")
    if test:
        click.echo(f"{test_sha256}  {test}")
