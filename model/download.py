"""`python -m model.download`: a published version into a folder, every file compared with the manifest.

What fetches versions in the cluster, before the server starts: in the place of KServe's own downloader, which takes S3's address
from annotations of the Secret only, compares nothing, and needs a ServiceAccount that lists the Secret.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from model.artifact import ArtifactRejected, fetch
from model.digest_option import VersionRejected, sha256
from model.printable import PrintableErrors, printable
from model.storage import StorageError


@click.command(cls=PrintableErrors)
@click.argument("uri")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--manifest-sha256", metavar="DIGEST", callback=sha256, help="Refuse a version whose manifest.json has another SHA-256."
)
def download(uri: str, folder: Path, manifest_sha256: str | None) -> None:
    """Copy the published version at URI (s3://) into FOLDER.

    Exit codes: 0 copied, and every file is as its manifest says; 65 the version is incomplete, altered, or not the expected
    one; 1 the storage could not be read.
    """
    if not uri.startswith("s3://"):  # of others `fetch` makes no copy
        raise click.UsageError(f"URI is {uri!r}: expected s3://bucket/prefix/")
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        fetch(uri, folder, manifest_sha256=manifest_sha256)
    except ArtifactRejected as error:
        raise VersionRejected(str(error)) from error
    except StorageError as error:
        raise click.ClickException(str(error)) from error
    size = sum(each.stat().st_size for each in folder.iterdir())
    vouched = f", manifest {manifest_sha256}" if manifest_sha256 else ""
    click.echo(f"{printable(uri)}: {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s, unaltered{vouched}", err=True)


if __name__ == "__main__":
    download()
