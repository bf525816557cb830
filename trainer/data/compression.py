"""Read compressed files as streams of bytes; a file that was cut off is an error."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from backports import zstd

from trainer.data.download import SourceFile
from trainer.data.encodings import encoding_of

SAMPLE_BYTES = 1 << 16


COMPRESSIONS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".zst": zstd.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
# Errors of the decompressors for invalid data, besides OSError and ValueError.
NOT_COMPRESSED = (EOFError, lzma.LZMAError, zlib.error, zstd.ZstdError)


def compression_of(file: SourceFile) -> str:
    """Return the file name's ending for its compression, "" for none."""
    ending = Path(file.name.lower()).suffix
    return ending if ending in COMPRESSIONS else ""


def open_bytes(file: SourceFile) -> IO[bytes]:
    """Open the file for reading its decompressed bytes."""
    opened: IO[bytes] = COMPRESSIONS.get(compression_of(file), Path.open)(file.path, "rb")
    return opened


def open_text(file: SourceFile, encoding: str) -> tuple[IO[bytes], str, bytes]:
    """Open the file after its byte order mark, decompressed but not decoded. Return it with its encoding and first bytes.

    encoding: dataset.encoding, "auto" to detect it.
    """
    with open_bytes(file) as opened:
        start = opened.read(SAMPLE_BYTES)
    own, mark = encoding_of(start, encoding)
    opened = open_bytes(file)
    opened.read(len(mark))
    return opened, own, start.removeprefix(mark)
