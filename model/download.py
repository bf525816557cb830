"""`python -m model.download`: a published version into a folder, every file compared with the manifest.

What fetches versions in the cluster, before the server starts: in the place of KServe's own downloader, which takes S3's address
from annotations of the Secret only, compares nothing, and needs a ServiceAccount that lists the Secret.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from model.artifact import ArtifactRejected, fetch
from model.storage import StorageError


@click.command()
@click.argument("uri")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def download(uri: str, folder: Path) -> None:
    """Copy the published version at URI (s3://) into FOLDER."""
    if not uri.startswith("s3://"):  # of others `fetch` makes no copy
        raise click.UsageError(f"URI is {uri!r}: expected s3://bucket/prefix/")
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        fetch(uri, folder)
    except (ArtifactRejected, StorageError) as error:
        raise click.ClickException(str(error)) from error
    size = sum(each.stat().st_size for each in folder.iterdir())
    click.echo(f"{uri}: {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s, unaltered", err=True)


if __name__ == "__main__":
    download()
