"""File formats: detect the format by the file's name, and read its rows into a lazy frame. Knows no column's meaning."""

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
from trainer.parallel.threads import thread_map
from trainer.shown_values import shown_names

# Small enough that a few blocks fit into the processor's cache, large enough that the cost per call is negligible.
BLOCK_BYTES = 4 << 20
SLICE_ROWS = 16_384
LONGEST_LINE = 64 << 20  # bytes of a line of JSON Lines; longer ones are a decompression bomb or not JSON Lines
SAMPLE_LINES = 100
# Written by Python's json and by pandas, but not valid JSON.
NO_NUMBERS = (b"NaN", b"Infinity")
STRING_OR_NO_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b')


class Format(StrEnum):
    """File format of a dataset."""

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
    """Return the format by the file's name, without its compression; None if it is not supported."""
    stem = Path(name.lower())
    if stem.suffix in COMPRESSIONS:
        stem = stem.with_suffix("")
    return ENDINGS.get(stem.suffix)


@dataclass(frozen=True, eq=False)
class Scan:
    """A file that is ready to be read. columns: names of all columns. frame: returns the rows with some of the columns."""

    file: SourceFile
    kind: Format
    columns: tuple[str, ...]
    frame: Callable[[Sequence[str]], pl.LazyFrame]
    encoding: str = UTF8
    delimited: Delimited | None = None

    @property
    def written(self) -> str:
        """Description of the file's format, for people."""
        if self.delimited:
            return f"{self.kind}, {self.delimited.written}"
        return str(self.kind) if self.kind is Format.PARQUET else f"{self.kind}, {self.encoding.upper()}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on how the file was read."""
        return self.delimited.notes if self.delimited else ()

    def place_of(self, row: int) -> str:
        """Return the line or row number of a row of the file, for people. The first row is 0."""
        if self.delimited:
            return f"line {self.delimited.line_of(row):,}"
        if self.kind is Format.JSON_LINES:
            return f"line {_line_of(self.file, self.encoding, row):,}"
        return f"row {row + 1:,}"


def scan(file: SourceFile, kind: Format, wanted: tuple[str, ...], *, scratch: Path, options: DelimitedOptions = AS_EVER) -> Scan:
    """Prepare the file for reading.

    wanted: columns by which the separator is detected. Values of text files are read as text: "007" is a label, not a number.
    Raises the errors of polars and the decompressors, and DatasetRejected for a file that is not of its format.
    """
    if kind is Format.PARQUET:
        rows = pl.scan_parquet(file.path, glob=False, hive_partitioning=False)
        return Scan(file, kind, tuple(rows.collect_schema()), lambda names: _in_slices(rows.select(names)))
    if kind is Format.JSON_LINES:
        opened, encoding, _ = open_text(file, options.encoding)
        opened.close()
        keys = _keys(file, wanted, encoding)
        return Scan(file, kind, keys, lambda names: _scan_lines(file, tuple(names), encoding), encoding)
    delimited = open_delimited(file, SEPARATORS[kind], wanted, scratch=scratch, options=options)
    # polars' name for a second column with the same name.
    if twice := [name for name in wanted if f"{name}_duplicated_0" in delimited.columns]:
        raise DatasetRejected(f"{file.name} has several columns {shown_names(twice)}: rename all but one")
    return Scan(file, kind, delimited.columns, delimited.frame.select, delimited.dialect.encoding, delimited)


def blocks(file: SourceFile, encoding: str = "auto") -> Iterator[bytes]:
    """Yield the file as UTF-8 in blocks that end at a line end, without a byte order mark.

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
            else:  # lines end with carriage returns; in JSON they are white space, so they can be replaced
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
    """Replace NaN and Infinity in JSON Lines, except in strings, by null: Python writes them, but JSON does not have them."""
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


def _null_or_string(match: re.Match[bytes]) -> bytes:
    return match[0] if match[0].startswith(b'"') else b"null"


def _line_of(file: SourceFile, encoding: str, row: int) -> int:
    """Return the line number of a row of JSON Lines. Blank lines are not rows."""
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
    """Return the keys of the first SAMPLE_LINES objects, in order; of the whole first block if a wanted key is missing."""
    keys: dict[str, Any] = {}
    for number, line in enumerate(next(blocks(file, encoding), b"").splitlines()):
        if number >= SAMPLE_LINES and keys.keys() >= set(wanted):
            break
        if line.strip():
            value = _parsed(line)
            if not isinstance(value, dict):
                raise ValueError(f"expected JSON objects, found a {type(value).__name__}")
            keys.update(dict.fromkeys(value))
    return tuple(keys)


def _parsed(line: bytes) -> Any:
    """Return the JSON of a line. Raises ValueError, also if it is nested too deeply."""
    try:
        return json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _in_slices(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the frame as a source that is read in slices: polars itself decodes a dozen row groups ahead, 1 GB of texts."""
    schema = frame.collect_schema()
    rows = frame.select(pl.len()).collect().item() if schema else 0

    def frames(_: object, __: object, most_rows: int | None, ___: object) -> Iterator[pl.DataFrame]:
        return _at_most(most_rows, (frame.slice(start, SLICE_ROWS).collect() for start in range(0, rows, SLICE_ROWS)))

    return register_io_source(frames, schema=schema)


def _at_most(rows: int | None, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the first `rows` rows of the frames, all if None. polars expects a source to do this."""
    for frame in frames:
        some = frame if rows is None else frame.head(rows)
        yield some
        if rows is not None:
            rows -= len(some)
            if rows <= 0:
                return


def _scan_lines(file: SourceFile, columns: tuple[str, ...], encoding: str) -> pl.LazyFrame:
    """Read JSON Lines block by block, with every value as text and lists as JSON.

    polars' own scan maps the whole file into memory, which counts as used memory, and has to guess types.
    """
    schema = pl.Schema(dict.fromkeys(columns, pl.String()))

    def frame_of(block: bytes) -> pl.DataFrame:
        block = numbers_only(block)
        return _escaped_again(pl.read_ndjson(block, schema=schema), block)

    def frames(_: object, __: object, most_rows: int | None, ___: object) -> Iterator[pl.DataFrame]:
        return _at_most(most_rows, thread_map(frame_of, blocks(file, encoding)))

    return register_io_source(frames, schema=schema)


def _escaped_again(frame: pl.DataFrame, block: bytes) -> pl.DataFrame:
    """Return the frame with valid JSON for lists and dictionaries; polars loses the escapes of strings in them.

    Only lines with an escaped quote, or whose cell has a backslash or a control character, are parsed again.
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
        values = [(row, _parsed(lines[row]).get(name)) for row in rows]
        mended = [(row, json.dumps(value, ensure_ascii=False)) for row, value in values if not isinstance(value, str)]
        if mended:
            frame = frame.with_columns(frame[name].scatter([row for row, _ in mended], [cell for _, cell in mended]))
    return frame
