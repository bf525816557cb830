"""Decode text files to UTF-8. A file that is neither marked nor UTF-8 is refused; its encoding is not guessed."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import IO, Any

from trainer.errors import DatasetRejected
from trainer.shown_values import shown

BLOCK_BYTES = 4 << 20
UTF8 = "utf-8"
# Longest first: the mark of UTF-32 begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
SAMPLE_BYTES = 4_096
MOSTLY_ZEROS = 0.3  # share of every other byte, which is zero in UTF-16 for Latin letters


def encoding_of(start: bytes, wanted: str) -> tuple[str, bytes]:
    """Return the encoding of a file that starts with these bytes, and its byte order mark, b"" for none.

    wanted: dataset.encoding, "auto" to detect it from the mark, or from the zeros of UTF-16 without a mark.
    """
    mark, named = next(((mark, name) for mark, name in MARKS if start.startswith(mark)), (b"", UTF8))
    if wanted != "auto":
        own = codecs.lookup(wanted).name
        return own, mark if own.replace("_", "-").startswith(named[:6]) else b""
    if mark:
        return named, mark
    return _by_zeros(start[:SAMPLE_BYTES]), b""


def _by_zeros(start: bytes) -> str:
    if len(start) >= 4:
        if start[1::2].count(0) > MOSTLY_ZEROS * len(start) / 2 and not start[0::2].count(0):
            return "utf-16-le"
        if start[0::2].count(0) > MOSTLY_ZEROS * len(start) / 2 and not start[1::2].count(0):
            return "utf-16-be"
    return UTF8


class Transcoded(io.RawIOBase):
    """A file in another encoding, read as UTF-8. Raises DatasetRejected, with the line, for invalid bytes."""

    def __init__(self, opened: IO[bytes], encoding: str, *, name: str) -> None:
        self._opened = opened
        self._blocks = utf8_blocks(opened, encoding, name=name)
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._ready = memoryview(block)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._opened.close()
        super().close()


def utf8_blocks(opened: IO[bytes], encoding: str, *, name: str) -> Iterator[bytes]:
    """Yield the rest of a file as UTF-8, block by block. Raises DatasetRejected for bytes that are invalid in its encoding."""
    decoder, lines = codecs.getincrementaldecoder(encoding)(), 1
    while True:
        block = opened.read(BLOCK_BYTES)
        pending = decoder.getstate()[0]
        if encoding == UTF8 and not pending and block.isascii():
            utf8 = block
        else:
            try:
                utf8 = decoder.decode(block, final=not block).encode()
            except UnicodeDecodeError as error:
                raise not_encoded(name, encoding, error, lines) from error
        lines += utf8.count(b"\n")
        if utf8:
            yield utf8
        if not block:
            return


def not_encoded(name: str, encoding: str, error: UnicodeDecodeError, lines: int) -> DatasetRejected:
    """Return the error for bytes that are invalid in the file's encoding, in a block that begins in line `lines`."""
    block = error.object
    line, byte = lines + block[: error.start].decode(encoding, "replace").count("\n"), block[error.start]
    holds = f"line {line:,} holds the byte 0x{byte:02x}"
    if encoding != UTF8:
        return DatasetRejected(f"{name} is not {encoding} text, as dataset.encoding says: {holds}")
    before, after = block[max(0, error.start - 12) : error.start], block[error.start : error.start + 8]
    around = (before.rpartition(b"\n")[2] + after.partition(b"\n")[0]).decode("cp1252", "replace")
    return DatasetRejected(
        f"{name} is not UTF-8 text: {holds}; set dataset.encoding to its encoding (with cp1252, common on Windows, it reads "
        f"{shown(around)}), or save it as UTF-8"
    )
