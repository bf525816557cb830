"""Parse lines of a delimited file into records, for files that do not conform to RFC 4180, and for messages.

Slow and tolerant, while polars is fast and strict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

LONGEST_RECORD = 64 << 20  # bytes; longer ones are a decompression bomb or not lines of text


class Quoting(StrEnum):
    """Meaning of a double quote.

    DOUBLE: it encloses a field that may contain separators and line ends (RFC 4180). LINE: it encloses a field within a
    line, and is text if it is not closed there. NONE: it is text.
    """

    DOUBLE = "double"
    LINE = "line"
    NONE = "none"


class Misquoted(Exception):
    """A quote opens at `line` and does not close before a separator or the end of a line."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line:,} opens a double quote that does not close before a separator or the end of a line")
        self.line = line


class Fields:
    """Parser of a line's fields. stray: whether the last line had quotes that enclose no field."""

    def __init__(self, separator: str, quoting: Quoting) -> None:
        self.separator, self.quoting, self.stray = separator, quoting, False
        end = rf"[ ]*(?={re.escape(separator)}|$)"
        self._whole = re.compile(rf'[ ]*"((?:[^"]|"")*)"{end}')
        self._opening = re.compile(r'[ ]*"((?:[^"]|"")*)\Z')
        self._quote = re.compile(r'[ ]*"')

    def of(self, line: str) -> list[str] | None:
        """Return the fields of a line, given without its end; None if a field continues on the next line.

        Raises ValueError for a stray quote with DOUBLE.
        """
        self.stray = False
        if '"' not in line or self.quoting is Quoting.NONE:
            return line.split(self.separator)
        fields: list[str] = []
        at = 0
        while True:
            whole = self._whole.match(line, at)
            if whole:
                fields.append(whole[1].replace('""', '"'))
                at = whole.end()
            elif self.quoting is Quoting.DOUBLE and self._quote.match(line, at):
                if self._opening.match(line, at):
                    return None
                raise ValueError("stray quote")
            else:
                end = line.find(self.separator, at)
                end = len(line) if end < 0 else end
                fields.append(line[at:end])
                self.stray |= '"' in fields[-1]
                at = end
            if at >= len(line):
                return fields
            at += len(self.separator)


def records(lines: Iterable[str], separator: str, quoting: Quoting) -> Iterator[tuple[int, list[str]]]:
    """Yield every record with the number of its first line, from 1. The record of a blank line has no fields.

    Raises Misquoted.
    """
    fields_of, begun, start = Fields(separator, quoting), "", 0
    for number, line in enumerate(lines, start=1):
        whole = begun + line if begun else line
        start = start if begun else number
        try:
            fields = fields_of.of(whole.removesuffix("\n").removesuffix("\r"))
        except ValueError as error:
            raise Misquoted(start) from error
        if fields is None:
            begun = whole
            if len(begun) > LONGEST_RECORD:
                raise Misquoted(start)
            continue
        begun = ""
        yield start, fields if whole.strip("\r\n") else []
    if begun:
        raise Misquoted(start)
