"""Compressed files as streams of bytes: what their names end in, and whole or an error."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from trainer.data.download import SourceFile
from trainer.data.encodings import encoding_of

ZSTD_BYTES = 1 << 14  # small, since it may unpack to thousands of times as much
SAMPLE_BYTES = 1 << 16


class _Zstd(io.RawIOBase):
    """Every frame of a file, since parallel compressors write many, and EOFError if the last does not end.

    zstandard's own reader takes a file that was cut off between two blocks for whole.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame: Any = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._file.read(ZSTD_BYTES)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last frame does not end")
                return 0
            self._ready = memoryview(b"".join(self._unpacked(packed)))
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _unpacked(self, packed: bytes) -> Iterator[bytes]:
        while packed:
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            yield self._frame.decompress(packed)
            packed = b""
            if self._frame.eof:
                packed, self._frame = self._frame.unused_data, None

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_zstd(path: Path, _: str) -> io.BufferedReader:
    return io.BufferedReader(_Zstd(path))


COMPRESSIONS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".zst": _open_zstd,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
# What the decompressors raise for bytes that are not theirs, besides OSError and ValueError.
NOT_COMPRESSED = (EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError)


def compression_of(file: SourceFile) -> str:
    """The ending of the file's compression, "" for none."""
    ending = Path(file.name.lower()).suffix
    return ending if ending in COMPRESSIONS else ""


def open_bytes(file: SourceFile) -> IO[bytes]:
    """The file's bytes, decompressed."""
    opened: IO[bytes] = COMPRESSIONS.get(compression_of(file), Path.open)(file.path, "rb")
    return opened


def open_text(file: SourceFile, encoding: str) -> tuple[IO[bytes], str, bytes]:
    """The file's bytes after its byte order mark, decompressed and not yet decoded; its encoding, and how it starts.

    encoding: dataset.encoding, "auto" to find it out.
    """
    with open_bytes(file) as opened:
        start = opened.read(SAMPLE_BYTES)
    own, mark = encoding_of(start, encoding)
    opened = open_bytes(file)
    opened.read(len(mark))
    return opened, own, start.removeprefix(mark)
