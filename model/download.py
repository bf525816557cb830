"""Command `python -m model.download`: copy a published version into a folder and compare every file with the manifest.

In the cluster it runs before the server, in place of KServe's own downloader. That one takes the address of S3 only from
annotations of the Secret, verifies nothing, and needs a ServiceAccount that lists the Secret.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from model.artifact import ArtifactRejected, fetch
from model.digest_option import VersionRejected, sha256
from model.escaping import PrintableErrors, printable
from model.storage import StorageError


@click.command(cls=PrintableErrors)
@click.argument("uri")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--manifest-sha256",
    metavar="DIGEST",
    callback=sha256,
    help="Refuse the version unless its manifest.json has this SHA-256.",
)
def download(uri: str, folder: Path, manifest_sha256: str | None) -> None:
    """Copy the published version at URI (s3://) into FOLDER.

    Exit codes: 0 copied, and every file is as in the manifest; 65 the version is incomplete, altered, or not the expected
    one; 1 the storage could not be read.
    """
    if not uri.startswith("s3://"):  # `fetch` does not copy from other addresses
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
