"""Dialect of a CSV or TSV file, from its first lines and the settings: separator, header, line ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from trainer.config.settings import DatasetConfig
from trainer.data.delimited.records import Fields, Quoting
from trainer.data.encodings import UTF8
from trainer.errors import DatasetRejected
from trainer.shown_values import shown, shown_names

SEPARATORS = (",", ";", "\t", "|")
NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", " ": "a blank"}
DIRECTIVE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel's own first line
SAMPLE_LINES = 100
NUMBERED = re.compile(r"column_[1-9]\d*")


@dataclass(frozen=True)
class DelimitedOptions:
    """Settings for delimited files; "auto" is detected."""

    separator: str = "auto"
    quoting: str = "auto"
    encoding: str = "auto"
    header: bool | str = "auto"

    @classmethod
    def of(cls, config: DatasetConfig) -> Self:
        """Return the options in the settings of a dataset."""
        return cls(config.separator, config.quoting, config.encoding, config.header)


@dataclass(frozen=True)
class Dialect:
    """Format of a delimited file. head: number of lines before the first row, the header and Excel's own first line."""

    separator: str
    quoting: Quoting
    encoding: str
    header: bool
    head: int
    line_end: str


def find_dialect(start: str, *, usual: str, wanted: tuple[str, ...], options: DelimitedOptions, name: str) -> Dialect:
    """Return the dialect of the file that starts with this text, except its quoting and encoding.

    usual: the separator of its format. wanted: configured columns. Raises DatasetRejected if no separator yields them.
    """
    line_end = "\r" if re.search(r"\r(?!\n)|\n", start + "\n")[0] == "\r" else "\n"  # type: ignore[index]
    lines = start.replace("\r", "\n").split("\n") if line_end == "\r" else start.split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    directive = DIRECTIVE.fullmatch(lines[0].strip())
    usual, lines = (directive[1], lines[1:]) if directive else (usual, lines)
    first = lines[0] if lines else ""
    separator = _separator(lines[:SAMPLE_LINES], usual=usual, wanted=wanted, options=options)
    names = _names(first, separator)
    lacking = [each for each in wanted if each not in names]
    numbered = bool(wanted) and all(NUMBERED.fullmatch(each) for each in wanted) and len(lacking) == len(wanted)
    header = options.header if isinstance(options.header, bool) else not numbered
    if header and lacking and not directive and (len(names) == 1 or len(lacking) == len(wanted)):
        raise DatasetRejected(_no_columns(name, lacking, names, first, separator))
    return Dialect(separator, Quoting.DOUBLE, UTF8, header, header + bool(directive), line_end)


def _no_columns(name: str, lacking: list[str], names: list[str], first: str, separator: str) -> str:
    said = f"{name} has no column {shown_names(lacking)}; found {shown_names(names) or 'none'}"
    if "\x00" in first:
        return f"{name} is not UTF-8 text: its first line holds zero bytes; set dataset.encoding to its encoding"
    settings = "dataset.separator, dataset.quoting and dataset.header say how it is written"
    return (
        f"{said} with {separator_name(separator)} between columns; {settings} "
        "(without a header the columns are column_1, column_2, ...)"
    )


def separator_name(separator: str) -> str:
    """Return the name of the separator."""
    return NAMES[separator] if separator in NAMES else shown(separator)


def _names(line: str, separator: str) -> list[str]:
    return [each.strip() for each in Fields(separator, Quoting.LINE).of(line) or []]


def _separator(lines: list[str], *, usual: str, wanted: tuple[str, ...], options: DelimitedOptions) -> str:
    """Return the configured separator; else the first that yields the wanted columns, or the usual one."""
    if options.separator != "auto":
        return options.separator
    first = lines[0] if lines else ""
    candidates = (usual, *(each for each in SEPARATORS if each != usual))
    if wanted and options.header is not False:
        for each in candidates:
            if set(wanted) <= set(_names(first, each)):
                return each
    if wanted and all(NUMBERED.fullmatch(each) for each in wanted):
        most = max(int(each.removeprefix("column_")) for each in wanted)
        even = {each: {len(_names(line, each)) for line in lines[:-1] or lines if line} for each in candidates}
        fits = [each for each in candidates if len(_names(first, each)) >= most]
        return next((each for each in fits if len(even[each]) == 1), next(iter(fits), usual))
    widths = {each: len(_names(first, each)) for each in candidates}
    return usual if widths[usual] > 1 or wanted else max(candidates, key=lambda each: widths[each])
