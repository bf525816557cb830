"""Copy rows of data files into one file of the same or another format, with all columns.

Knows formats, not the meaning of columns. From JSON Lines to JSON Lines, lines are copied byte for byte.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, compress, repeat
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from backports import zstd
from numpy.typing import NDArray
from polars.io.plugins import register_io_source

from model.storage import PART_PREFIX, StorageRejected, disk_error, local_path, open_store
from trainer.data.broken_files import first_line
from trainer.data.compression import NOT_COMPRESSED
from trainer.data.download import SourceFile
from trainer.data.formats import SEPARATORS, SLICE_ROWS, Format, Scan, blocks, format_of, numbers_only
from trainer.errors import ConfigRejected, DatasetRejected

EXPECTED = "expected a name in .jsonl, .csv, .tsv or .parquet, the text formats maybe with .gz or .zst"
PACKED: dict[str, Any] = {"": "uncompressed", ".gz": "gzip", ".zst": "zstd"}
GZIP_LEVEL = 6
ZSTD_LEVEL = 3


@dataclass(frozen=True)
class Target:
    """File to write: its URI, format, and the ending of its compression, "" for none."""

    uri: str
    kind: Format
    packed: str


def target_at(uri: str, *, setting: str) -> Target:
    """Return the file at `uri`, the value of `setting`. Raises ConfigRejected if its name has no format that can be written."""
    kind, packed = format_of(uri), Path(uri.lower()).suffix
    packed = packed if packed in (".gz", ".zst", ".bz2", ".xz") else ""
    if kind is None or packed not in PACKED or (packed and kind is Format.PARQUET):
        raise ConfigRejected(f"{setting} is {uri!r}: {EXPECTED}")
    if uri.startswith("s3://"):
        return Target(uri, kind, packed)
    path = local_path(uri)
    if path.is_dir():
        raise ConfigRejected(f"{setting} is {uri!r}: expected a file, found a folder")
    return Target(path.as_uri(), kind, packed)


def refuse_same(source: str, files: Sequence[SourceFile], target: Target) -> None:
    """Raise ConfigRejected if `target` would replace one of the files that `source` names."""
    if target.uri.startswith("s3://"):
        same = any(target.uri in (source, f"{source.rstrip('/')}/{file.name}") for file in files)
    else:
        path = local_path(target.uri)
        same = path.exists() and any(path.samefile(file.path) for file in files)
    if same:
        raise ConfigRejected(f"OUT is {target.uri!r}, which is read as IN: expected another file")


def copy_rows(
    scans: Sequence[Scan],
    times: NDArray[np.int64],
    target: Target,
    *,
    scratch: Path,
    require_unchanged: Callable[[], None] = lambda: None,
) -> None:
    """Write each row `times` times [rows of all files], in order. If this fails, the target is unchanged.

    The files have one format. Columns that a file does not have are null. Lists are written as JSON in formats without lists.
    require_unchanged: raises if the files have changed since `times` was computed; called before the target is replaced.
    Raises DatasetRejected if the number of rows differs from that of `times`, or if columns cannot be combined or written;
    StorageError.
    """
    kind = scans[0].kind if scans else None
    with _replacing(target, scratch) as part:
        try:
            if kind is target.kind is Format.JSON_LINES:
                _copy_lines(scans, times, target, part)
            else:
                _sink(_frames(scans, times, target), target, part)
        except (*NOT_COMPRESSED, pl.exceptions.PolarsError) as error:
            require_unchanged()
            raise DatasetRejected(f"cannot write {target.uri}: {first_line(error)}") from error
        except DatasetRejected:
            require_unchanged()
            raise
        require_unchanged()


def _copy_lines(scans: Sequence[Scan], times: NDArray[np.int64], target: Target, part: Path) -> None:
    taken = _Taken(times)
    with _opened(part, target.packed) as out:
        for block in chain.from_iterable(blocks(each.file, each.encoding) for each in scans):
            lines = [line for line in block.split(b"\n") if line.strip()]
            often = taken.next(len(lines))
            once = often.max(initial=0) <= 1
            chosen = compress(lines, often.tolist()) if once else chain.from_iterable(map(repeat, lines, often.tolist()))
            out.write(b"".join(chain.from_iterable((line, b"\n") for line in chosen)))
    taken.end()


class _Taken:
    """Reader of consecutive parts of `times`. Raises DatasetRejected if there are more or fewer rows than entries."""

    def __init__(self, times: NDArray[np.int64]) -> None:
        self._times, self._done = times, 0

    def next(self, rows: int) -> NDArray[np.int64]:
        """Return the entries of the next rows."""
        self._done += rows
        if self._done > len(self._times):
            self.end()
        return self._times[self._done - rows : self._done]

    def end(self) -> None:
        """Finish after the last row."""
        if self._done != len(self._times):
            raise DatasetRejected(f"the dataset had {len(self._times):,} rows, and its number of rows has changed meanwhile")


@contextmanager
def _opened(part: Path, packed: str) -> Iterator[IO[bytes]]:
    """Open the file for writing, with compression."""
    with part.open("wb") as file:
        if not packed:
            yield file
            return
        out: Any
        if packed == ".zst":
            out = zstd.ZstdFile(file, "wb", level=ZSTD_LEVEL)
        else:  # without time and name, so that the same rows give the same bytes
            out = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=GZIP_LEVEL, mtime=0)
        with out:
            yield out


def _frames(scans: Sequence[Scan], times: NDArray[np.int64], target: Target) -> pl.LazyFrame:
    """Return the rows to write as a frame that is computed in slices while it is written."""
    if not scans:
        raise DatasetRejected("there is no file with rows")
    sources = [_typed_lines(each) if each.kind is Format.JSON_LINES else each.frame(each.columns) for each in scans]
    whole = pl.concat(sources, how="diagonal_relaxed") if len(sources) > 1 else sources[0]
    schema = whole.collect_schema()
    nested = [name for name, dtype in schema.items() if dtype.is_nested()] if target.kind in SEPARATORS else []
    written = pl.Schema({name: pl.String() if name in nested else dtype for name, dtype in schema.items()})

    def slices(*_: object) -> Iterator[pl.DataFrame]:
        taken = _Taken(times)
        for frame in whole.collect_batches(chunk_size=SLICE_ROWS, maintain_order=True, engine="streaming"):
            often = taken.next(len(frame))
            rows = np.repeat(np.arange(len(frame), dtype=np.uint32), often)
            yield frame[rows].with_columns(_as_json(frame[name].gather(rows)) for name in nested)
        taken.end()

    return register_io_source(slices, schema=written)


def _typed_lines(lines: Scan) -> pl.LazyFrame:
    """Return JSON Lines with types that fit all values: integers and floats become floats."""
    schemas: list[pl.Schema] = []
    for block in blocks(lines.file, lines.encoding):
        schema = pl.read_ndjson(numbers_only(block), infer_schema_length=None).schema
        if schema not in schemas:
            schemas.append(schema)
    schema = pl.concat([pl.LazyFrame(schema=each) for each in schemas], how="diagonal_relaxed").collect_schema()

    def frames(*_: object) -> Iterator[pl.DataFrame]:
        for block in blocks(lines.file, lines.encoding):
            yield pl.read_ndjson(numbers_only(block), schema=schema)

    return register_io_source(frames, schema=schema)


def _as_json(values: pl.Series) -> pl.Series:
    texts = [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values.to_list()]
    return pl.Series(values.name, texts, dtype=pl.String)


def _sink(frame: pl.LazyFrame, target: Target, part: Path) -> None:
    if target.kind is Format.PARQUET:
        frame.sink_parquet(part)
    elif target.kind is Format.JSON_LINES:
        frame.sink_ndjson(part, compression=PACKED[target.packed], check_extension=False)
    else:
        separator = SEPARATORS[target.kind]
        frame.sink_csv(part, separator=separator, compression=PACKED[target.packed], check_extension=False)


@contextmanager
def _replacing(target: Target, scratch: Path) -> Iterator[Path]:
    """Yield a file to write, which replaces the target in one step, by a rename or an upload, if nothing fails."""
    if target.uri.startswith("s3://"):
        folder, _, name = target.uri.rpartition("/")
        store = open_store(folder)
        part = Path(tempfile.mkdtemp(dir=scratch)) / "out"
        yield part
        store.upload(part, name)
        return
    path = local_path(target.uri)
    part = _beside(path)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=PART_PREFIX)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise StorageRejected(f"{path.parent} is not a folder that can be written to: {error.strerror}") from error
    except OSError as error:
        raise disk_error(error, str(path.parent)) from error
    os.close(descriptor)
    return Path(name)
