"""What a data file is by its name, and how its rows become a lazy frame. Knows no column's meaning."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import zlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import polars as pl
import zstandard
from polars.io.plugins import register_io_source

from trainer.fetching import SourceFile
from trainer.rejections import DatasetRejected
from trainer.side_by_side import side_by_side

# Small enough that a few of them in work stay in the processor's cache, large enough that each is worth a call.
BLOCK_BYTES = 4 << 20
SLICE_ROWS = 16_384
ZSTD_BYTES = 1 << 14  # small, since it may unpack to thousands of times as much
SAMPLE_LINES = 100
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Format(StrEnum):
    """How a file's bytes hold rows."""

    PARQUET = "Parquet"
    CSV = "CSV"
    TSV = "TSV"
    JSON_LINES = "JSON Lines"


ENDINGS = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".json": Format.JSON_LINES,  # arXiv's snapshot, and what Spark writes
}


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
SEPARATORS = {Format.CSV: ",", Format.TSV: "\t"}


def format_of(name: str) -> Format | None:
    """The format that a file's name ends in, below its compression; None if it is none of ours."""
    stem = Path(name.lower())
    if stem.suffix in COMPRESSIONS:
        stem = stem.with_suffix("")
    return ENDINGS.get(stem.suffix)


def open_bytes(file: SourceFile) -> IO[bytes]:
    """The file's bytes, decompressed."""
    compression = COMPRESSIONS.get(Path(file.name.lower()).suffix, Path.open)
    opened: IO[bytes] = compression(file.path, "rb")
    return opened


def scan(file: SourceFile, kind: Format, wanted: tuple[str, ...], *, scratch: Path) -> tuple[pl.LazyFrame, tuple[str, ...]]:
    """The file's rows with the wanted columns that it has, and the names of all its columns.

    Text files are read as text: "007" is a label, not a number. Raises what polars and the decompressors raise.
    """
    if kind is Format.PARQUET:
        frame = pl.scan_parquet(file.path, glob=False, hive_partitioning=False)
        found = tuple(frame.collect_schema())
        return _in_slices(frame.select(name for name in wanted if name in found)), found
    if kind is Format.JSON_LINES:
        found = _keys(file, wanted)
        return _scan_lines(file, tuple(name for name in wanted if name in found)), found
    path = _readable(file, scratch)
    frame = pl.scan_csv(path, separator=SEPARATORS[kind], infer_schema=False, glob=False)
    found = tuple(frame.collect_schema())
    # What polars makes of the second column of a name.
    if twice := [name for name in wanted if f"{name}_duplicated_0" in found]:
        raise DatasetRejected(f"{file.name} has several columns {', '.join(map(repr, twice))}: rename all but one")
    return frame.select(name for name in wanted if name in found), found


def blocks(file: SourceFile) -> Iterator[bytes]:
    """The file in blocks that end where a line ends, without a byte order mark."""
    with open_bytes(file) as opened:
        start = opened.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
        while block := start + opened.read(BLOCK_BYTES):
            yield block + opened.readline()
            start = b""


def _keys(file: SourceFile, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Every key of the objects at the start, in order of appearance: as far as the first block if a wanted one is missing."""
    keys: dict[str, Any] = {}
    for number, line in enumerate(next(blocks(file), b"").splitlines()):
        if number >= SAMPLE_LINES and keys.keys() >= set(wanted):
            break
        if line.strip():
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ValueError(f"expected JSON objects, found a {type(value).__name__}")
            keys.update(dict.fromkeys(value))
    return tuple(keys)


def _in_slices(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The same rows, a slice at a time: left alone, polars decodes a dozen row groups ahead, a gigabyte of texts."""
    schema = frame.collect_schema()
    rows = frame.select(pl.len()).collect().item() if schema else 0

    def frames(_: object, __: object, most_rows: int | None, ___: object) -> Iterator[pl.DataFrame]:
        return _at_most(most_rows, (frame.slice(start, SLICE_ROWS).collect() for start in range(0, rows, SLICE_ROWS)))

    return register_io_source(frames, schema=schema)


def _at_most(rows: int | None, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The first rows of the frames, all if None; polars leaves that to the source."""
    for frame in frames:
        some = frame if rows is None else frame.head(rows)
        yield some
        if rows is not None:
            rows -= len(some)
            if rows <= 0:
                return


def _scan_lines(file: SourceFile, columns: tuple[str, ...]) -> pl.LazyFrame:
    """JSON Lines read block by block.

    polars' own scan maps the whole file into memory and is counted with it; and it has to guess types, where this takes
    every value as text, a list as its JSON.
    """
    schema = pl.Schema(dict.fromkeys(columns, pl.String()))

    def frames(_: object, __: object, most_rows: int | None, ___: object) -> Iterator[pl.DataFrame]:
        return _at_most(most_rows, side_by_side(lambda block: pl.read_ndjson(block, schema=schema), blocks(file)))

    return register_io_source(frames, schema=schema)


def _readable(file: SourceFile, scratch: Path) -> Path:
    """A path that polars' CSV reader can read: it knows gzip and zstd by their first bytes, the other compressions not."""
    if Path(file.name.lower()).suffix not in (".bz2", ".xz"):
        return file.path
    plain = scratch / f"{file.path.name}.plain"
    with open_bytes(file) as opened, plain.open("wb") as to:
        shutil.copyfileobj(opened, to, BLOCK_BYTES)
    return plain
