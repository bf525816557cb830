"""Parse a column of label strings into a matrix of labels: separators, lists, aliases, blanks, repetitions.

Each distinct string is parsed once, since a million rows may have only a few thousand distinct strings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.data.labels.angle_brackets import read_tags
from trainer.data.labels.list_columns import Cells, read_cells
from trainer.data.labels.separators import find_separator
from trainer.data.labels.vectors import refuse_bits, refuse_vectors
from trainer.data.tables import UNIT

SAMPLES = 2


@dataclass(frozen=True)
class SampleCell:
    """A cell and the labels that were read from it. text: as in the file, "" if the labels come from several cells."""

    row: int
    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows with their labels.

    names: all labels, sorted. targets: 1 where a row has a label, uint8 [rows, names].
    given: whether the row's labels are given [rows]: false if they are missing (null, NaN, ""); true without labels if the
    row is known to have none, by zeros in all label columns or an empty list.
    several: whether rows may have more than one label. unused_aliases: old names that do not occur.
    written: notation of labels in the file, in words. samples: a few cells and their labels.
    """

    names: tuple[str, ...]
    targets: csr_matrix
    given: NDArray[np.bool_]
    several: bool
    notes: tuple[str, ...]
    unused_aliases: frozenset[str]
    written: str
    samples: tuple[SampleCell, ...]


def by_number(row: int) -> str:
    """Return the row's number for people, without its file."""
    return f"row {row + 1:,}"


def read_labels(
    strings: pl.Series,
    *,
    listed: bool,
    separator: str,
    aliases: Mapping[str, str],
    known: frozenset[str] = frozenset(),
    marked: bool = False,
    where: Callable[[int], str] = by_number,
) -> Labelled:
    """Return the labels in each string; null and blank strings have none.

    listed: the strings are lists joined by `tables.UNIT`, and "" is an empty list; otherwise `separator` separates labels, or
    is "auto". marked: the lists come from several columns of 0 and 1. known: expected labels, by which a separator is
    detected. where: returns a row's place, for people. Raises DatasetRejected for lists of 0 and 1, for cells of bits such as
    "0100" unless `separator` is given, for dictionaries with values other than 0 and 1, and if many cells cannot be read. A
    few unreadable cells have no labels, and are named in a note.
    """
    distinct = strings.drop_nulls().unique().sort()
    codes = strings.cast(pl.Enum(distinct)).to_physical().cast(pl.Int64).fill_null(len(distinct)).to_numpy()
    rows = np.bincount(codes, minlength=len(distinct) + 1)[:-1]

    def where_string(number: int) -> str:
        return where(int((codes == number).argmax()))

    cells = _listed_cells(distinct, marked=marked) if listed else read_cells(distinct, rows, where_string)
    if cells is None:
        cells = _joined_cells(distinct, separator, known, where_string)
    if not marked:
        refuse_vectors(cells.pairs, distinct, rows, where_string)
    unused = frozenset(aliases).difference(cells.pairs["label"].unique())
    names, by_string = _marks(cells.pairs, len(distinct), resolved_aliases(aliases))
    # The last row of `by_string` is for null.
    given = (by_string.getnnz(axis=1) > 0) | np.append(cells.empty, False)
    several = cells.listed or bool((by_string.getnnz(axis=1) > 1).any())
    return Labelled(
        names=names,
        targets=csr_matrix(by_string[codes]),
        given=given[codes],
        several=several,
        notes=cells.notes,
        unused_aliases=unused,
        written=cells.written,
        samples=_samples(distinct, codes, by_string, names, raw=not listed),
    )


def _listed_cells(distinct: pl.Series, *, marked: bool) -> Cells:
    written = "columns of 0 and 1" if marked else "lists"
    return Cells(_pairs(distinct, UNIT), (distinct == "").to_numpy(), written, listed=True)


def _joined_cells(distinct: pl.Series, separator: str, known: frozenset[str], where: Callable[[int], str]) -> Cells:
    notes: tuple[str, ...] = ()
    if separator == "auto":
        refuse_bits(distinct, known, where)
        if tags := read_tags(distinct, known):
            return tags
        separator, notes = find_separator(distinct, known)
    written = f"joined by {separator!r}" if separator else "one label a cell"
    return Cells(_pairs(distinct, separator), np.zeros(len(distinct), np.bool_), written, listed=False, notes=notes)


def _samples(
    distinct: pl.Series, codes: NDArray[np.int64], by_string: csr_matrix, names: tuple[str, ...], *, raw: bool
) -> tuple[SampleCell, ...]:
    """Return the first row with a label, and the first row with another cell, if possible with several labels."""
    counts = by_string.getnnz(axis=1)
    labelled = np.flatnonzero(counts[codes] > 0)
    if not len(labelled):
        return ()
    chosen = [labelled[0]]
    others = labelled[codes[labelled] != codes[labelled[0]]]
    if len(others):
        more = others[counts[codes[others]] > 1]
        chosen.append(more[0] if len(more) else others[0])
    samples = []
    for row in chosen[:SAMPLES]:
        own = sorted(by_string.indices[by_string.indptr[codes[row]] : by_string.indptr[codes[row] + 1]])
        samples.append(SampleCell(int(row), distinct[int(codes[row])] if raw else "", tuple(names[at] for at in own)))
    return tuple(samples)


def resolved_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    """Return the final name of every alias. `DatasetConfig` has refused circles."""
    final = {}
    for alias in aliases:
        name = alias
        while name in aliases:
            name = aliases[name]
        final[alias] = name
    return final


def _pairs(values: pl.Series, separator: str) -> pl.DataFrame:
    """Return all labels of all strings: the index `string` and the `label`."""
    frame = pl.DataFrame({"string": np.arange(len(values)), "label": values})
    if separator:
        frame = frame.with_columns(pl.col("label").str.split(separator)).explode("label")
    return frame.with_columns(pl.col("label").str.strip_chars())


def _marks(pairs: pl.DataFrame, strings: int, aliases: dict[str, str]) -> tuple[tuple[str, ...], csr_matrix]:
    """Return all labels, sorted, and the labels of each string, with an empty last row for null."""
    pairs = pairs.with_columns(pl.col("label").replace(aliases)).filter(pl.col("label") != "").unique()
    names = pairs["label"].unique().sort()
    columns: NDArray[np.uint32] = pairs["label"].cast(pl.Enum(names)).to_physical().to_numpy()
    marks = np.ones(len(pairs), dtype=np.uint8)
    rows = pairs["string"].to_numpy()
    return tuple(names), csr_matrix((marks, (rows, columns)), shape=(strings + 1, len(names)))
