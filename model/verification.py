"""Command `labelwright verify`: check that the files of a published version are unaltered."""

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
from model.escaping import PrintableErrors, printable
from model.manifest import FileEntry
from model.storage import ObjectMissing, ObjectStore, StorageError, StorageRejected, open_store

REJECTED, UNAVAILABLE = 64, 75
UNCHECKED_MANIFEST = "not checked (give --manifest-sha256)"
UNCHECKED_VERSION = (
    "the files are as in the manifest, but the manifest itself was not checked: labels or thresholds in it may have been "
    "altered; give --manifest-sha256 to check it"
)


@dataclass(frozen=True)
class Finding:
    """Result for one object. size: bytes; None if not known."""

    key: str
    size: int | None
    result: str
    is_intact: bool = False

    def line(self) -> str:
        """Return the finding as a line for a terminal."""
        size = f"{self.size:>14,} bytes" if self.size is not None else " " * 20
        return f"{self.key:<32}{size}  {self.result}"


class StorageFailed(click.ClickException):
    """The address is wrong, or the storage could not be read."""

    def __init__(self, error: StorageError) -> None:
        super().__init__(str(error))
        # click declares the exit code on the class, but reads the instance's
        setattr(self, "exit_code", REJECTED if isinstance(error, StorageRejected) else UNAVAILABLE)  # noqa: B010


@click.command(cls=PrintableErrors, short_help="Check that the files of a version are unaltered.")
@click.argument("version")
@click.option(
    "--manifest-sha256",
    metavar="DIGEST",
    callback=sha256,
    help="Expected SHA-256 of manifest.json: status.served.manifestSha256, or manifest_sha256 of the training's result.",
)
def verify(version: str, manifest_sha256: str | None) -> None:
    """Compare every file of the version at VERSION (a folder, file:// or s3://) with the size and SHA-256 in its manifest.

    Prints one line per file. The manifest itself is checked only with --manifest-sha256.

    \b
    Exit codes: 0 every file is intact; 65 a file is missing or altered, or the manifest is not the expected one;
    64 the address is wrong; 75 the storage could not be read: a retry may succeed.
    """
    try:
        store = open_store(version)
        published = read_published(store, manifest_sha256=manifest_sha256)
        findings = []
        for each in _findings(store, published, manifest_checked=manifest_sha256 is not None):
            click.echo(printable(each.line()))
            findings.append(each)
    except ObjectMissing as error:
        raise VersionRejected(f"{version} is not a published version: {error}") from error
    except ArtifactRejected as error:
        raise VersionRejected(str(error)) from error
    except StorageError as error:
        raise StorageFailed(error) from error
    manifest, broken = published.manifest, sum(not each.is_intact for each in findings)
    name = f"{manifest.classifier} {manifest.version}, created {manifest.created_at:%Y-%m-%d %H:%M:%S %Z}"
    if broken:
        raise VersionRejected(f"{name}: {broken} of {len(manifest.files) + 1} files are missing or altered")
    click.echo(f"{name}: intact" if manifest_sha256 else f"{name}: {UNCHECKED_VERSION}")


def _findings(store: ObjectStore, published: PublishedVersion, *, manifest_checked: bool) -> Iterator[Finding]:
    """Yield a finding for the manifest, for each file by name, and for objects that are not part of the version."""
    manifest, sizes = published.manifest, {each.key: each.size for each in store.list()}
    lacking = [each for each in (GRAPH, TOKENIZER) if each not in manifest.files]
    result = f"lists no {' and no '.join(lacking)}" if lacking else "intact" if manifest_checked else UNCHECKED_MANIFEST
    yield Finding(MANIFEST, sizes.get(MANIFEST), f"{result}; SHA-256 {published.manifest_sha256}", not lacking)
    for name, entry in sorted(manifest.files.items()):
        yield _finding(store, manifest.stored(name), entry)
    known = {MANIFEST, *map(manifest.stored, manifest.files)}
    for key, size in sizes.items():
        if key not in known and is_of_a_version(key):  # harmless; `labelwright prune` deletes it with the version
            yield Finding(key, size, "not part of the version: left by another attempt", is_intact=True)


def _finding(store: ObjectStore, key: str, expected: FileEntry) -> Finding:
    try:
        actual, size = digest(store.stream(key), max_bytes=expected.size)
    except ObjectMissing:
        return Finding(key, None, "MISSING")
    if size > expected.size:
        return Finding(key, None, f"ALTERED: it has more than {expected.size:,} bytes, the size in the manifest")
    if size < expected.size:
        return Finding(key, size, f"CUT OR ALTERED: the manifest says {expected.size:,} bytes")
    if actual != expected.sha256:
        return Finding(key, size, f"ALTERED: its SHA-256 is {actual}, the manifest says {expected.sha256}")
    return Finding(key, size, "intact", is_intact=True)
