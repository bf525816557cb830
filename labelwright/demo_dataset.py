"""The command `labelwright demo-dataset`: the demo's labelled texts, for a storage in which a cluster looks for them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from model.printable import PrintableErrors
from model.storage import StorageError, open_store


@click.command(cls=PrintableErrors)
@click.argument("uri")
def demo_dataset(uri: str) -> None:
    """Write docstrings of installed libraries, each with its labels, to the Parquet file URI (s3:// or file://).

    The columns are `text` and `labels`. A file that exists there is kept.
    """
    from trainer.data.docstrings import write_dataset

    folder, _, name = uri.rpartition("/")
    try:
        store = open_store(folder)
        if name in {each.key for each in store.list()}:
            click.echo(f"{uri}: exists")
            return
        with tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
            file = Path(scratch) / name
            rows = write_dataset(file)
            store.upload(file, name)
    except StorageError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{uri}: {rows:,} texts")
