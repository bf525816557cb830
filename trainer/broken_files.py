"""Which file and line it was that a reader could not read. Asked only after it failed, so slow and plain."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable

import polars as pl

from trainer.fetching import SourceFile
from trainer.formats import NOT_COMPRESSED, SEPARATORS, Format, open_bytes


def explain(files: Iterable[SourceFile], kind: Format) -> str | None:
    """One sentence on the first file that is not what its name says; None if each of them is."""
    for file in files:
        try:
            fault = _fault(file, kind)
        except UnicodeDecodeError as error:
            fault = f"is not UTF-8 text ({error.reason} at byte {error.start} of a block): save it as UTF-8"
        except EOFError:
            fault = "ends before its compression does: it was cut off; bring it here again"
        except (*NOT_COMPRESSED, OSError, ValueError, pl.exceptions.PolarsError) as error:
            fault = f"cannot be read as {kind}: {first_line(error)}"
        if fault:
            return f"{file.name} {fault}"
    return None


def first_line(error: Exception) -> str:
    """The error's message without what follows its first line, or its type if it has none."""
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _fault(file: SourceFile, kind: Format) -> str | None:
    if kind is Format.PARQUET:
        pl.scan_parquet(file.path, glob=False).select(pl.len()).collect()
        return None
    if kind is Format.JSON_LINES:
        return _fault_of_lines(file)
    return _fault_of_fields(file, SEPARATORS[kind])


def _fault_of_lines(file: SourceFile) -> str | None:
    with open_bytes(file) as opened:
        for number, line in enumerate(opened, start=1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if number == 1 and text.startswith("["):
                return "is a JSON list, not JSON Lines: expected an object a line"
            try:
                if text and not isinstance(json.loads(text), dict):
                    return f"line {number} is not a JSON object: {_shown(text)}"
            except json.JSONDecodeError as error:
                return f"line {number} is not JSON ({error.msg} at character {error.pos + 1}): {_shown(text)}"
    return None


def _fault_of_fields(file: SourceFile, separator: str) -> str | None:
    csv.field_size_limit(sys.maxsize)
    with open_bytes(file) as opened, io.TextIOWrapper(opened, "utf-8-sig", newline="") as text:
        rows = csv.reader(text, delimiter=separator, strict=True)
        try:
            header = next(rows, [])
            for row in rows:
                if len(row) > len(header):
                    return (
                        f"line {rows.line_num} has {len(row)} fields and the header {len(header)}: "
                        f"put fields that hold {separator!r} in double quotes"
                    )
        except csv.Error as error:
            return f"line {rows.line_num}: {error}"
    return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
