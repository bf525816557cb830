"""What a data file is by its name, and how its rows become a lazy frame. Knows no column's meaning."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from trainer.data.compression import COMPRESSIONS, open_text
from trainer.data.delimited.dialect import DelimitedOptions
from trainer.data.delimited.files import Delimited, open_delimited
from trainer.data.download import SourceFile
from trainer.data.encodings import UTF8, Transcoded
from trainer.errors import DatasetRejected
from trainer.messages import shown_names
from trainer.parallel.threads import thread_map

# Small enough that a few of them in work stay in the processor's cache, large enough that each is worth a call.
BLOCK_BYTES = 4 << 20
SLICE_ROWS = 16_384
LONGEST_LINE = 64 << 20  # of JSON Lines; what is longer is a bomb or no JSON Lines
SAMPLE_LINES = 100
# Python's json, and so pandas, write these where JSON has no number.
NO_NUMBERS = (b"NaN", b"Infinity")
STRING_OR_NO_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b')


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

SEPARATORS = {Format.CSV: ",", Format.TSV: "\t"}
AS_EVER = DelimitedOptions()


def format_of(name: str) -> Format | None:
    """The format that a file's name ends in, below its compression; None if it is none of ours."""
    stem = Path(name.lower())
    if stem.suffix in COMPRESSIONS:
        stem = stem.with_suffix("")
    return ENDINGS.get(stem.suffix)


@dataclass(frozen=True, eq=False)
class Scan:
    """A file whose rows can be read.

    columns: the names of all its columns. frame: its rows, with some of them. written: how it is written, for people.
    """

    file: SourceFile
    kind: Format
    columns: tuple[str, ...]
    frame: Callable[[Sequence[str]], pl.LazyFrame]
    encoding: str = UTF8
    delimited: Delimited | None = None

    @property
    def written(self) -> str:
        """How the file is written, for people."""
        if self.delimited:
            return f"{self.kind}, {self.delimited.written}"
        return str(self.kind) if self.kind is Format.PARQUET else f"{self.kind}, {self.encoding.upper()}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of how it was read."""
        return self.delimited.notes if self.delimited else ()

    def place_of(self, row: int) -> str:
        """Return where a row of the file stands, for people; the first row is 0."""
        if self.delimited:
            return f"line {self.delimited.line_of(row):,}"
        if self.kind is Format.JSON_LINES:
            return f"line {_line_of(self.file, self.encoding, row):,}"
        return f"row {row + 1:,}"


def scan(file: SourceFile, kind: Format, wanted: tuple[str, ...], *, scratch: Path, options: DelimitedOptions = AS_EVER) -> Scan:
    """The file, ready to be read.

    wanted: columns by which a separator is recognised. Text files are read as text: "007" is a label, not a number. Raises
    what polars and the decompressors raise, and DatasetRejected for a file that is none of its kind.
    """
    if kind is Format.PARQUET:
        rows = pl.scan_parquet(file.path, glob=False, hive_partitioning=False)
        return Scan(file, kind, tuple(rows.collect_schema()), lambda names: _in_slices(rows.select(names)))
    if kind is Format.JSON_LINES:
        opened, encoding, _ = open_text(file, options.encoding)
        opened.close()
        found = _keys(file, wanted, encoding)
        return Scan(file, kind, found, lambda names: _scan_lines(file, tuple(names), encoding), encoding)
    delimited = open_delimited(file, SEPARATORS[kind], wanted, scratch=scratch, options=options)
    # What polars makes of the second column of a name.
    if twice := [name for name in wanted if f"{name}_duplicated_0" in delimited.columns]:
        raise DatasetRejected(f"{file.name} has several columns {shown_names(twice)}: rename all but one")
    return Scan(file, kind, delimited.columns, delimited.frame.select, delimited.dialect.encoding, delimited)


def blocks(file: SourceFile, encoding: str = "auto") -> Iterator[bytes]:
    """The file as UTF-8 in blocks that end where a line ends, without a byte order mark.

    Raises DatasetRejected for a line of more than LONGEST_LINE bytes.
    """
    opened, own, _ = open_text(file, encoding)
    with opened if own == UTF8 else io.BufferedReader(Transcoded(opened, own, name=file.name)) as text:
        lines, block = 1, text.read(BLOCK_BYTES)
        end = b"\r" if b"\n" not in block and b"\r" in block else b"\n"
        while block:
            if end == b"\n":
                block += text.readline(LONGEST_LINE)
                whole, rest = block, b""
            else:  # within JSON a carriage return is blank, so it may be written as what ends our lines
                cut = block.rfind(end) + 1
                whole, rest = block[:cut].replace(b"\r", b"\n"), block[cut:]
            if len(rest) > LONGEST_LINE or (len(whole) > LONGEST_LINE and not whole.endswith(b"\n")):
                lines += whole.count(b"\n")
                raise DatasetRejected(
                    f"{file.name} line {lines:,} is longer than {LONGEST_LINE >> 20} MiB: expected an object a line"
                )
            lines += whole.count(b"\n")
            if whole:
                yield whole
            more = text.read(BLOCK_BYTES)
            if rest and not more:
                yield rest
            block = rest + more if more else b""


def numbers_only(block: bytes) -> bytes:
    """JSON Lines with null for NaN and Infinity, which Python writes and JSON lacks; in strings they stay."""
    for word in NO_NUMBERS:
        parts: list[bytes] = []
        done, at = 0, block.find(word)
        while at >= 0:
            before, after = block[max(0, at - 9) : at].rstrip(), block[at + len(word) : at + len(word) + 9].lstrip()
            end = at + len(word)
            if before.removesuffix(b"-").rstrip()[-1:] in (b":", b",", b"[") and after[:1] in (b",", b"]", b"}"):
                start, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
                end = len(block) if end < 0 else end
                parts += [block[done:start], STRING_OR_NO_NUMBER.sub(_null_or_string, block[start:end])]
                done = end
            at = block.find(word, end)
        if parts:
            block = b"".join([*parts, block[done:]])
    return block


def _null_or_string(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0].startswith(b'"') else b"null"


def _line_of(file: SourceFile, encoding: str, row: int) -> int:
    """The line of a row of JSON Lines; blank lines are no rows."""
    number = 0
    for block in blocks(file, encoding):
        for line in block.split(b"\n")[: -1 if block.endswith(b"\n") else None]:
            number += 1
            if line.strip():
                if row == 0:
                    return number
                row -= 1
    return number


def _keys(file: SourceFile, wanted: tuple[str, ...], encoding: str) -> tuple[str, ...]:
    """Every key of the objects at the start, in order of appearance: as far as the first block if a wanted one is missing."""
    keys: dict[str, Any] = {}
    for number, line in enumerate(next(blocks(file, encoding), b"").splitlines()):
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


def _scan_lines(file: SourceFile, columns: tuple[str, ...], encoding: str) -> pl.LazyFrame:
    """JSON Lines read block by block.

    polars' own scan maps the whole file into memory and is counted with it; and it has to guess types, where this takes
    every value as text, a list as its JSON.
    """
    schema = pl.Schema(dict.fromkeys(columns, pl.String()))

    def frame_of(block: bytes) -> pl.DataFrame:
        block = numbers_only(block)
        return _escaped_again(pl.read_ndjson(block, schema=schema), block)

    def frames(_: object, __: object, most_rows: int | None, ___: object) -> Iterator[pl.DataFrame]:
        return _at_most(most_rows, thread_map(frame_of, blocks(file, encoding)))

    return register_io_source(frames, schema=schema)


def _escaped_again(frame: pl.DataFrame, block: bytes) -> pl.DataFrame:
    """The frame with lists and dictionaries as their JSON: polars writes the strings in them without the escapes they had.

    Only lines where that may matter are parsed once more: those with an escaped quote, or whose cell has a backslash or a
    control character.
    """
    if b"\\" not in block:
        return frame
    lines: list[bytes] | None = None
    for name in frame.columns:
        nested = frame[name].str.contains(r"^[\[{]").fill_null(value=False)
        if not nested.any():
            continue
        lines = lines or [line for line in block.split(b"\n") if line.strip()]
        odd = frame[name].str.contains(r"[\\\x00-\x1f]").fill_null(value=False)
        rows = [row for row in nested.arg_true() if odd[row] or b'\\"' in lines[row]]
        values = [(row, json.loads(lines[row]).get(name)) for row in rows]
        mended = [(row, json.dumps(value, ensure_ascii=False)) for row, value in values if not isinstance(value, str)]
        if mended:
            frame = frame.with_columns(frame[name].scatter([row for row, _ in mended], [cell for _, cell in mended]))
    return frame
