"""Detect the meaning of double quotes in a CSV or TSV file from all its bytes: they enclose fields, within a line or not, or
are text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer.data.delimited.dialect import Dialect
from trainer.data.delimited.records import LONGEST_RECORD, Fields, Quoting
from trainer.data.encodings import UTF8
from trainer.errors import DatasetRejected

# A quoted field that spans this many lines, each of which is a complete row by itself, is taken for two stray quotes.
LINES_OF_LONE_QUOTES = 3
QUOTE, NEWLINE, CARRIAGE_RETURN = 34, 10, 13


@dataclass
class Quotes:
    """Statistics of a file's double quotes, from a pass over its bytes.

    by_the_book: whether each quote begins a field, ends a field or is doubled. inside: line ends within quotes.
    first: line of the first field that spans lines.
    """

    separator: int
    count: int = 0
    by_the_book: bool = True
    inside: int = 0
    first: int = 0
    lines: int = 0
    _pending: bytes = field(default=b"\n")
    _since_line_end: int = 0

    def add(self, block: bytes, *, name: str) -> None:
        """Add the next bytes of the file. Raises DatasetRejected for a line of more than LONGEST_RECORD bytes."""
        last = block.rfind(b"\n")
        self._since_line_end = self._since_line_end + len(block) if last < 0 else len(block) - last
        if self._since_line_end > LONGEST_RECORD:
            raise DatasetRejected(
                f"{name} line {self.lines + 1:,} is longer than {LONGEST_RECORD >> 20} MiB: expected rows on lines"
            )
        buffer = self._pending + block
        if QUOTE in buffer or self.count % 2:
            self._look(buffer)
        else:
            self.lines += buffer[1:-1].count(b"\n")
        self._pending = buffer[-2:]

    def end(self) -> None:
        """Finish after the last byte."""
        self._look(self._pending + b"\n")
        self.by_the_book &= self.count % 2 == 0

    def _look(self, buffer: bytes) -> None:
        """Examine every byte but the first and the last, which are needed as neighbours."""
        around = np.frombuffer(buffer, np.uint8)
        within = around[1:-1]
        quotes = np.flatnonzero(within == QUOTE) + 1
        ends = np.flatnonzero(within == NEWLINE) + 1
        opening = (np.arange(len(quotes)) + self.count) % 2 == 0
        neighbour = np.where(opening, around[quotes - 1], around[quotes + 1])
        fits = (neighbour == self.separator) | (neighbour == NEWLINE) | (neighbour == CARRIAGE_RETURN) | (neighbour == QUOTE)
        self.by_the_book &= bool(fits.all())
        inside = (np.searchsorted(quotes, ends) + self.count) % 2 == 1
        if inside.any() and not self.first:
            self.first = self.lines + int(inside.argmax()) + 1
        self.inside += int(inside.sum())
        self.lines += len(ends)
        self.count += len(quotes)


def settle_quoting(path: Path, dialect: Dialect, quotes: Quotes, *, wanted: str, name: str) -> tuple[Quoting, tuple[str, ...]]:
    """Return the meaning of double quotes in this file, and notes. Raises DatasetRejected if it is ambiguous."""
    if not quotes.count or wanted == Quoting.NONE:
        return Quoting.NONE, ()
    lines = "line end" if quotes.inside == 1 else "line ends"
    spans = (f"{name}: {quotes.inside:,} {lines} within fields, the first in line {quotes.first:,}",) if quotes.inside else ()
    if wanted == Quoting.DOUBLE or (quotes.by_the_book and not quotes.inside):
        return Quoting.DOUBLE, spans
    stray = _stray_quote(path, dialect)
    if stray is None:
        return Quoting.DOUBLE, spans
    if quotes.by_the_book and dialect.separator != "\t" and quotes.inside < LINES_OF_LONE_QUOTES:
        raise DatasetRejected(
            f"{name} line {stray:,} opens a double quote that closes in a later line, and each of these lines is a complete row "
            "by itself: set dataset.quoting to double if fields span lines, to none if quotes are text"
        )
    note = f"{name}: double quotes that enclose no field were read as text, the first in line {stray:,}"
    return Quoting.LINE, (note,) if stray else ()


def _stray_quote(path: Path, dialect: Dialect) -> int | None:
    """Return the first line with a quote that encloses no field, 0 for none; None if a line is not a complete row by itself."""
    fields_of, width, stray = Fields(dialect.separator, Quoting.LINE), 0, 0
    with path.open(encoding=UTF8, newline="\n") as opened:
        for number, line in enumerate(opened, start=1):
            text = line.removesuffix("\n").removesuffix("\r")
            if number <= dialect.head - dialect.header or not text:
                continue
            fields = fields_of.of(text) or []
            width = width or len(fields)
            if len(fields) != width:
                return None
            if fields_of.stray and not stray:
                stray = number
    return stray
