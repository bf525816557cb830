"""Find the file and line that a reader could not read. Used only after it failed, so it is simple and slow."""

from __future__ import annotations

import json
from collections.abc import Iterable

import polars as pl

from trainer.data.compression import NOT_COMPRESSED, open_text
from trainer.data.download import SourceFile
from trainer.data.encodings import UTF8, not_encoded, utf8_blocks
from trainer.data.formats import SLICE_ROWS, Format, blocks
from trainer.shown_values import MOST_CHARACTERS, escaped, shown


def explain(files: Iterable[SourceFile], kind: Format, *, encoding: str, columns: tuple[str, ...] = ()) -> str | None:
    """Return a sentence about the first broken file; None if no file is broken.

    encoding: dataset.encoding. columns: those that were read. Rows of delimited files are checked by
    trainer.data.delimited.files instead.
    """
    for file in files:
        try:
            fault = _fault(file, kind, encoding, columns)
        except EOFError:
            fault = "ends before its compressed data do: it was cut off; copy it again"
        except (*NOT_COMPRESSED, OSError, ValueError, pl.exceptions.PolarsError) as error:
            fault = f"cannot be read as {kind}: {first_line(error)}"
        if fault:
            return f"{file.name} {fault}"
    return None


def first_line(error: Exception) -> str:
    """Return the first line of the error's message, at most MOST_CHARACTERS; its type if it has no message."""
    line = str(error).strip().split("\n", 1)[0]
    return escaped(line, MOST_CHARACTERS) if line else type(error).__name__


def _fault(file: SourceFile, kind: Format, encoding: str, columns: tuple[str, ...]) -> str | None:
    if kind is Format.PARQUET:
        rows = pl.scan_parquet(file.path, glob=False)
        count = rows.select(pl.len()).collect().item()
        faults = (_fault_of_bytes(rows.select(name), count) for name in columns if name in rows.collect_schema())
        return next(filter(None, faults), None)
    if kind is Format.JSON_LINES:
        return _fault_of_lines(file, encoding)
    opened, own, _ = open_text(file, encoding)
    with opened:
        for _ in utf8_blocks(opened, own, name=file.name):
            pass
    return None


def _fault_of_bytes(column: pl.LazyFrame, rows: int) -> str | None:
    """Return a clause about the first row of a Parquet column whose bytes are not UTF-8."""
    [(name, kind)] = column.collect_schema().items()
    if "Binary" not in str(kind):
        return None
    for start in range(0, rows, SLICE_ROWS):
        for at, value in enumerate(column.slice(start, SLICE_ROWS).collect()[name].to_list(), start=start + 1):
            if (odd := _undecodable(value)) is not None:
                holds = f"row {at:,} holds bytes in column {shown(name)} that are not UTF-8, {shown(ascii(odd)[1:])}"
                return f"{holds}: expected text saved as UTF-8"
    return None


def _undecodable(value: object) -> bytes | None:
    """Return the first bytes within a value that are not UTF-8."""
    if isinstance(value, bytes):
        try:
            value.decode()
        except UnicodeDecodeError as error:
            return value[max(0, error.start - 12) : error.start + 8]
        return None
    parts = (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((odd for part in parts if (odd := _undecodable(part)) is not None), None)


def _fault_of_lines(file: SourceFile, encoding: str) -> str | None:
    lines = 0
    for block in blocks(file, encoding):
        for number, line in enumerate(block.split(b"\n"), start=lines + 1):
            try:
                text = line.decode().strip()
            except UnicodeDecodeError as error:
                raise not_encoded(file.name, UTF8, error, number) from error
            if number == 1 and text.startswith("["):
                return "is a JSON list, not JSON Lines: expected an object a line"
            try:
                if text and not isinstance(json.loads(text), dict):
                    return f"line {number} is not a JSON object: {shown(text)}"
            except json.JSONDecodeError as error:
                return f"line {number} is not JSON ({error.msg} at character {error.pos + 1}): {shown(text)}"
            except RecursionError:
                return f"line {number} is nested too deeply: {shown(text)}"
        lines += block.count(b"\n")
    return None
