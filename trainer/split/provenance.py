"""Hashes of the texts that a version was trained and tested on, written with it and read by the next training.

Layout of `parts.bin`, little-endian: `LWPARTS1`; the number of hashes of train and validation, and that of test, uint64
each; these hashes, uint64, each set ascending and without duplicates. A hash is of a text's words in lower case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.artifact import PARTS, ArtifactRejected, read_file, read_published
from model.storage import ObjectMissing, ObjectStore, StorageRejected, open_store

KIND = b"LWPARTS1"
HEADER = len(KIND) + 16
ONE = np.dtype("<u8")

UNREADABLE = "the served version cannot be read, and nothing is compared with it: "  # and why
SILENT = (
    "the served version {} does not list the texts that it was trained on: some may be in the test part, and its score there "
    "may be too high"
)

Hashes = NDArray[np.uint64]


class EarlierUse(IntEnum):
    """Use of a group of near-duplicates by an earlier version."""

    NEW = 0
    TRAINED = 1
    TESTED = 2


@dataclass(frozen=True, eq=False)
class TextProvenance:
    """Hashes of the texts of a version's train and validation parts, and of its test part; ascending, no duplicates."""

    trained: Hashes
    tested: Hashes

    @classmethod
    def of(cls, trained: Hashes, tested: Hashes) -> Self:
        """Return the provenance with these hashes, given in any order."""
        return cls(np.unique(trained), np.unique(tested))

    @classmethod
    def parse(cls, content: bytes, *, where: str) -> Self:
        """Parse the bytes that `to_bytes` returns. Raises ArtifactRejected, naming `where`, for other bytes."""
        if content[: len(KIND)] != KIND or len(content) < HEADER:
            raise ArtifactRejected(f"{where} is not a list of texts that this release can read")
        trained, tested = np.frombuffer(content, ONE, 2, len(KIND)).tolist()
        if len(content) != HEADER + (trained + tested) * ONE.itemsize:
            raise ArtifactRejected(f"{where} has {len(content)} bytes, which does not match its {trained + tested:,} texts")
        hashes = np.frombuffer(content, ONE, offset=HEADER).astype(np.uint64)
        return cls(hashes[:trained], hashes[trained:])

    def to_bytes(self) -> bytes:
        """Return the content of `parts.bin`: 8 bytes a text."""
        counts = np.array([len(self.trained), len(self.tested)], ONE)
        return KIND + b"".join(each.astype(ONE).tobytes() for each in (counts, self.trained, self.tested))

    def earlier_use(self, hashes: Hashes, groups: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return how the version used each group [groups]. A group with any text that it was trained on is TRAINED.

        hashes, groups: of each example [examples].
        """
        use = np.full(int(groups.max(initial=-1)) + 1, EarlierUse.NEW, np.int8)
        use[groups[np.isin(hashes, self.tested)]] = EarlierUse.TESTED
        use[groups[np.isin(hashes, self.trained)]] = EarlierUse.TRAINED
        return use


@dataclass(frozen=True, eq=False)
class ServedHistory:
    """Texts that the served version has seen; None if it cannot be read or was published by an older release.

    sha256: of the list of texts. note: why there is none, in a sentence. not_compared: why the version cannot be compared.
    """

    version: str = ""
    texts: TextProvenance | None = None
    sha256: str | None = None
    note: str = ""
    not_compared: str | None = None


def read_served_history(uri: str, *, manifest_sha256: str | None = None) -> ServedHistory:
    """Read which texts the served version has seen.

    manifest_sha256: expected of its manifest; a version with another one counts as unreadable. Raises StorageRejected,
    StorageUnavailable.
    """
    try:
        return _read(open_store(uri), manifest_sha256)
    except StorageRejected as error:
        raise StorageRejected(f"gate.served_uri: {error}") from error
    except (ObjectMissing, ArtifactRejected) as error:
        return ServedHistory(note=f"{UNREADABLE}{error}", not_compared=str(error))


def _read(store: ObjectStore, manifest_sha256: str | None) -> ServedHistory:
    manifest = read_published(store, manifest_sha256=manifest_sha256).manifest
    expected = manifest.files.get(PARTS)
    if expected is None:
        return ServedHistory(note=SILENT.format(manifest.version))
    content = read_file(store, manifest, PARTS)
    return ServedHistory(
        manifest.version, TextProvenance.parse(content, where=store.uri + manifest.stored(PARTS)), expected.sha256
    )
