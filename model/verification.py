"""`labelwright verify`: say file by file whether a published version is as it was published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from model.artifact import (
    GRAPH,
    MANIFEST,
    TOKENIZER,
    ArtifactRejected,
    PublishedVersion,
    digest,
    is_of_a_version,
    read_published,
)
from model.digest_option import VersionRejected, sha256
from model.manifest import FileEntry
from model.printable import PrintableErrors, printable
from model.storage import ObjectMissing, ObjectStore, StorageError, StorageRejected, open_store

REJECTED, UNAVAILABLE = 64, 75
UNVOUCHED = "not compared with anything (--manifest-sha256 does)"
UNVOUCHED_FILES = (
    "its files are as its manifest says, but the manifest itself was compared with nothing: labels or thresholds in it may "
    "have been altered; give --manifest-sha256"
)


@dataclass(frozen=True)
class Finding:
    """What one object is like. size: None if it could not be counted."""

    key: str
    size: int | None
    said: str
    is_whole: bool = False

    def line(self) -> str:
        """For a terminal."""
        size = f"{self.size:>14,} bytes" if self.size is not None else " " * 20
        return f"{self.key:<32}{size}  {self.said}"


class StorageFailed(click.ClickException):
    """The address is wrong, or the storage could not be read."""

    def __init__(self, error: StorageError) -> None:
        super().__init__(str(error))
        # click declares it for the class, and reads the instance's
        setattr(self, "exit_code", REJECTED if isinstance(error, StorageRejected) else UNAVAILABLE)  # noqa: B010


@click.command(cls=PrintableErrors, short_help="Say file by file whether a version is as it was published.")
@click.argument("version")
@click.option(
    "--manifest-sha256",
    metavar="DIGEST",
    callback=sha256,
    help="SHA-256 that manifest.json has to have: status.served.manifestSha256, or manifest_sha256 of the training's result.",
)
def verify(version: str, manifest_sha256: str | None) -> None:
    """Compare every file of the version at VERSION (a folder, file:// or s3://) with the size and SHA-256 in its manifest.

    Prints a line for each file. A manifest vouches for the other files; only --manifest-sha256 vouches for the manifest.

    \b
    Exit codes: 0 every file is whole; 65 a file is missing or altered, or the manifest is not the expected one;
    64 the address is wrong; 75 the storage could not be read, and trying again may help.
    """
    try:
        store = open_store(version)
        published = read_published(store, manifest_sha256=manifest_sha256)
        findings = []
        for each in _findings(store, published, vouched=manifest_sha256 is not None):
            click.echo(printable(each.line()))
            findings.append(each)
    except ObjectMissing as error:
        raise VersionRejected(f"{version} is not a published version: {error}") from error
    except ArtifactRejected as error:
        raise VersionRejected(str(error)) from error
    except StorageError as error:
        raise StorageFailed(error) from error
    manifest, broken = published.manifest, sum(not each.is_whole for each in findings)
    name = f"{manifest.classifier} {manifest.version}, made {manifest.created_at:%Y-%m-%d %H:%M:%S %Z}"
    if broken:
        raise VersionRejected(f"{name}: {broken} of {len(manifest.files) + 1} files are not as they were published")
    click.echo(f"{name}: whole" if manifest_sha256 else f"{name}: {UNVOUCHED_FILES}")


def _findings(store: ObjectStore, published: PublishedVersion, *, vouched: bool) -> Iterator[Finding]:
    """The manifest first, then the files in the order of their names, then what is no part of the version."""
    manifest, sizes = published.manifest, {each.key: each.size for each in store.list()}
    lacking = [each for each in (GRAPH, TOKENIZER) if each not in manifest.files]
    said = f"names no {' and no '.join(lacking)}" if lacking else "whole" if vouched else UNVOUCHED
    yield Finding(MANIFEST, sizes.get(MANIFEST), f"{said}; SHA-256 {published.manifest_sha256}", not lacking)
    for name, entry in sorted(manifest.files.items()):
        yield _finding(store, manifest.stored(name), entry)
    known = {MANIFEST, *map(manifest.stored, manifest.files)}
    for key, size in sizes.items():  # they do no harm, and `labelwright prune` deletes them with the version
        if key not in known and is_of_a_version(key):
            yield Finding(key, size, "no part of the version: another attempt has left it", is_whole=True)


def _finding(store: ObjectStore, key: str, expected: FileEntry) -> Finding:
    try:
        found, size = digest(store.stream(key), most=expected.size)
    except ObjectMissing:
        return Finding(key, None, "MISSING")
    if size > expected.size:
        return Finding(key, None, f"ALTERED: it has more than the {expected.size:,} bytes that the manifest says")
    if size < expected.size:
        return Finding(key, size, f"CUT OR ALTERED: the manifest says {expected.size:,} bytes")
    if found != expected.sha256:
        return Finding(key, size, f"ALTERED: its SHA-256 is {found}, the manifest says {expected.sha256}")
    return Finding(key, size, "whole", is_whole=True)
