"""Read CSV and TSV files into frames.

polars reads a file directly if it conforms to RFC 4180. A file that is compressed, in another encoding or with stray quotes is
first rewritten to conform.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO

import polars as pl

from trainer.data.compression import compression_of, open_text
from trainer.data.delimited.dialect import DelimitedOptions, Dialect, find_dialect, separator_name
from trainer.data.delimited.quoting import Quotes, settle_quoting
from trainer.data.delimited.records import Fields, Misquoted, Quoting, records
from trainer.data.download import SourceFile
from trainer.data.encodings import BLOCK_BYTES, UTF8, utf8_blocks
from trainer.errors import DatasetRejected

QUOTES_MEAN = {
    Quoting.DOUBLE: "fields in double quotes",
    Quoting.LINE: "fields in double quotes, stray ones taken as text",
    Quoting.NONE: "double quotes taken as text",
}


@dataclass(frozen=True, eq=False)
class Delimited:
    """A delimited file, ready to be read.

    path: of its lines, as UTF-8. frame: its rows, with every column as text. quoted: whether it has double quotes.
    spans: whether a row may span lines.
    """

    path: Path
    name: str
    dialect: Dialect
    frame: pl.LazyFrame
    columns: tuple[str, ...]
    quoted: bool
    spans: bool
    notes: tuple[str, ...]

    @property
    def written(self) -> str:
        """Description of the file's format, for people."""
        dialect = self.dialect
        quoting = QUOTES_MEAN[dialect.quoting] if self.quoted else "no double quotes"
        line_ends = ", lines end with carriage returns" if dialect.line_end == "\r" else ""
        header = "" if dialect.header else ", no header"
        return f"separated by {separator_name(dialect.separator)}, {quoting}, {dialect.encoding.upper()}{line_ends}{header}"

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield every row with the number of the line that it begins in. Raises Misquoted."""
        with self.path.open(encoding=UTF8, newline="\n") as opened:
            yield from islice(records(opened, self.dialect.separator, self.dialect.quoting), self.dialect.head, None)

    def line_of(self, row: int) -> int:
        """Return the line that a row begins in; the first row is 0."""
        if not self.spans:
            return self.dialect.head + row + 1
        return next((line for line, _ in islice(self.rows(), row, None)), 0)

    def fault(self) -> str | None:
        """Return a sentence about the first invalid row, None if all rows are valid."""
        try:
            for line, fields in self.rows():
                if len(fields) > len(self.columns):
                    return _too_many(line, len(fields), len(self.columns), self.dialect)
        except Misquoted as error:
            return f"{error}; double the quotes within fields, or set dataset.quoting to none"
        return None


def open_delimited(
    file: SourceFile, usual: str, wanted: tuple[str, ...], *, scratch: Path, options: DelimitedOptions
) -> Delimited:
    """Detect the file's dialect, and rewrite the file if needed.

    usual: the separator of its format. wanted: columns by which the separator is detected. Raises DatasetRejected for a file
    that cannot be read, and the errors of the decompressors.
    """
    opened, encoding, start = open_text(file, options.encoding)
    with opened:
        text = start.decode(encoding, "ignore")
        detected = find_dialect(text, usual=usual, wanted=wanted, options=options, name=file.name)
        copied = bool(compression_of(file)) or encoding != UTF8 or detected.line_end == "\r"
        folder = Path(tempfile.mkdtemp(dir=scratch))
        path = folder / "lines" if copied else file.path
        quotes = count_quotes(opened, detected, encoding=encoding, copy_to=path if copied else None, name=file.name)
    quoting, notes = settle_quoting(path, detected, quotes, wanted=options.quoting, name=file.name)
    dialect = replace(detected, quoting=quoting, encoding=encoding)
    by_the_book = path
    if quoting is Quoting.LINE or (quoting is Quoting.DOUBLE and not quotes.by_the_book):
        by_the_book = folder / "rows"
        _rewrite(path, dialect, by_the_book, name=file.name)
    frame = _frame(by_the_book, dialect)
    spans = quoting is Quoting.DOUBLE and bool(quotes.inside or not quotes.by_the_book)
    return Delimited(path, file.name, dialect, frame, tuple(frame.collect_schema()), quotes.count > 0, spans, notes)


def _frame(path: Path, dialect: Dialect) -> pl.LazyFrame:
    scanned = pl.scan_csv(
        path,
        separator=dialect.separator,
        quote_char=None if dialect.quoting is Quoting.NONE else '"',
        has_header=dialect.header,
        skip_lines=dialect.head - dialect.header,
        infer_schema=False,
        glob=False,
    )
    names = scanned.collect_schema().names()
    own = _header(path, dialect) if dialect.header else [f"column_{at + 1}" for at in range(len(names))]
    renamed = own if len(set(own)) == len(own) == len(names) else names
    return scanned.rename(dict(zip(names, renamed, strict=True)))


def _header(path: Path, dialect: Dialect) -> list[str]:
    """Return the names of the columns. polars does not unquote names that contain double quotes."""
    quoting = Quoting.NONE if dialect.quoting is Quoting.NONE else Quoting.LINE
    with path.open(encoding=UTF8, newline="\n") as opened:
        line = next(islice(opened, dialect.head - 1, None), "")
    names = Fields(dialect.separator, quoting).of(line.removeprefix("\ufeff").removesuffix("\n").removesuffix("\r"))
    return [name.strip() for name in names or []]


def count_quotes(opened: IO[bytes], dialect: Dialect, *, encoding: str, copy_to: Path | None, name: str) -> Quotes:
    """Read all bytes, examine the quotes, and write a copy as UTF-8 to `copy_to`, if given."""
    quotes = Quotes(ord(dialect.separator))
    with copy_to.open("wb") if copy_to else nullcontext() as out:
        # polars checks files that are UTF-8 already.
        for utf8 in utf8_blocks(opened, encoding, name=name) if encoding != UTF8 else iter(lambda: opened.read(BLOCK_BYTES), b""):
            block = utf8.replace(b"\r", b"\n") if dialect.line_end == "\r" else utf8
            quotes.add(block, name=name)
            if out:
                out.write(block)
    quotes.end()
    return quotes


def _rewrite(path: Path, dialect: Dialect, to: Path, *, name: str) -> None:
    """Rewrite the records of a file as RFC 4180 says. Raises DatasetRejected for an invalid record, with its line."""
    width = 0
    with path.open(encoding=UTF8, newline="\n") as opened, to.open("w", encoding=UTF8, newline="") as out:
        writer = csv.writer(out, delimiter=dialect.separator, lineterminator="\n")
        try:
            for number, (line, fields) in enumerate(records(opened, dialect.separator, dialect.quoting), start=1):
                if number > dialect.head - dialect.header:
                    width = width or len(fields)
                    if len(fields) > width:
                        raise DatasetRejected(f"{name} {_too_many(line, len(fields), width, dialect)}")
                if fields:
                    writer.writerow(fields)
                else:
                    out.write("\n")
        except Misquoted as error:
            raise DatasetRejected(f"{name} {error}; double the quotes within fields, or set dataset.quoting to none") from error


def _too_many(line: int, fields: int, width: int, dialect: Dialect) -> str:
    first = "the header" if dialect.header else "the first line"
    return f"line {line:,} has {fields} fields and {first} {width}: put fields that hold {dialect.separator!r} in double quotes"
