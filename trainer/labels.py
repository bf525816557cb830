"""Strings of labels to a matrix of labels: separators, lists, aliases, blanks, repetitions.

A million rows repeat a few thousand strings, so each different string is taken apart once.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.tables import UNIT

# Tried in this order. The first two hardly ever stand within a label's name.
SEPARATORS = (";", "|", ",", " ")
# How many times more strings than atoms there must be if the atoms need not occur alone; none for the blank.
ATOMS_REPEAT = {";": 2, "|": 2, ",": 4}
ALONE = 0.9


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows with their labels.

    names: every label, sorted. targets: 1 where a row carries a label, uint8 [rows, names].
    several: whether rows may carry more than one label.
    """

    names: tuple[str, ...]
    targets: csr_matrix
    several: bool
    notes: tuple[str, ...]


def read_labels(
    strings: pl.Series, *, listed: bool, separator: str, aliases: Mapping[str, str], known: frozenset[str] = frozenset()
) -> Labelled:
    """The labels in each string; null and blank strings have none.

    listed: the strings hold lists, joined by `tables.UNIT`; otherwise `separator` says what joins labels, or "auto".
    known: labels that are expected; a separator is then found by them.
    """
    distinct = strings.drop_nulls().unique().sort()
    values = distinct if listed else _unpacked(distinct)
    notes: tuple[str, ...] = ()
    if values is None:
        values = distinct
        if separator == "auto":
            separator, notes = _find_separator(distinct, known)
    else:
        separator, listed = UNIT, True
    names, by_string = _taken_apart(values, separator, _resolved(aliases))
    codes = strings.cast(pl.Enum(distinct)).to_physical().cast(pl.Int64).fill_null(len(distinct)).to_numpy()
    targets = csr_matrix(by_string[codes])
    several = listed or bool((by_string.getnnz(axis=1) > 1).any())
    return Labelled(names, targets, several, notes)


def _unpacked(distinct: pl.Series) -> pl.Series | None:
    """The strings with every JSON or Python list in them joined by `UNIT`; None if none is one, or one is only alike."""
    alike = distinct.str.starts_with("[") & distinct.str.ends_with("]")
    if not alike.any():
        return None
    joined = [_as_list(value) if is_alike else value for value, is_alike in zip(distinct, alike, strict=True)]
    return None if None in joined else pl.Series(joined, dtype=pl.String)


def _as_list(text: str) -> str | None:
    for parse in (json.loads, ast.literal_eval):
        try:
            values = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(values, list) and not any(isinstance(value, list | dict) for value in values):
            return UNIT.join(str(value) for value in values if value is not None)
    return None


def _find_separator(distinct: pl.Series, known: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """What joins labels in these strings, "" if nothing does, and a note that says so."""
    strings = {stripped for each in distinct if (stripped := each.strip())}
    fits = _fits_known if known else _repeats
    for separator in SEPARATORS:
        joined = [each for each in strings if separator in each]
        if joined and fits(strings, joined, separator, known):
            example = min(joined, key=lambda each: (len(each), each))
            note = f"labels were taken to be joined by {separator!r}, as in {example!r}; set dataset.label_separator if not"
            return separator, (note,)
    return "", ()


def _repeats(strings: set[str], joined: list[str], separator: str, _: frozenset[str]) -> bool:
    """Whether the parts look like labels: far fewer than the strings, and nearly always seen alone elsewhere."""
    parts = [part.strip() for each in joined for part in each.split(separator) if part.strip()]
    alone = strings.difference(joined)
    atoms = alone.union(parts)
    if sum(part in alone for part in parts) >= ALONE * len(parts):
        return len(atoms) < len(strings)
    return separator in ATOMS_REPEAT and len(atoms) * ATOMS_REPEAT[separator] <= len(strings)


def _fits_known(_: set[str], joined: list[str], separator: str, known: frozenset[str]) -> bool:
    """Whether more strings hold a known label when taken apart than when taken whole."""
    apart = sum(any(part.strip() in known for part in each.split(separator)) for each in joined)
    return apart > sum(each in known for each in joined)


def _resolved(aliases: Mapping[str, str]) -> dict[str, str]:
    """Every alias with the name that is no alias of another; `DatasetConfig` has refused circles."""
    final = {}
    for alias in aliases:
        name = alias
        while name in aliases:
            name = aliases[name]
        final[alias] = name
    return final


def _taken_apart(values: pl.Series, separator: str, aliases: dict[str, str]) -> tuple[tuple[str, ...], csr_matrix]:
    """All labels, sorted, and which of them each string holds, with an empty row at the end for no string at all."""
    frame = pl.DataFrame({"string": np.arange(len(values)), "label": values})
    if separator:
        frame = frame.with_columns(pl.col("label").str.split(separator)).explode("label")
    pairs = frame.with_columns(pl.col("label").str.strip_chars().replace(aliases))
    pairs = pairs.filter(pl.col("label") != "").unique()
    names = pairs["label"].unique().sort()
    columns: NDArray[np.uint32] = pairs["label"].cast(pl.Enum(names)).to_physical().to_numpy()
    marks = np.ones(len(pairs), dtype=np.uint8)
    rows = pairs["string"].to_numpy()
    return tuple(names), csr_matrix((marks, (rows, columns)), shape=(len(values) + 1, len(names)))
