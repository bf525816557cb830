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
# Signs of a separator, each enough: of the parts' occurrences, the share that stands alone elsewhere, and how many labels
# there may be for each different string. Names of several words ("Home Decor", "New York") seldom stand alone in part and
# make more labels than there were strings; labels that are joined make fewer, the more so the more rows there are. In 300
# rows of arXiv 0.55 stand alone and 0.6 labels come of each string; in names of categories 0.07 and 1.4.
SIGNS = {
    ";": ((0.0, 1.0),),
    "|": ((0.0, 1.0),),
    ",": ((0.9, 0.99), (0.4, 0.75), (0.0, 0.25)),
    " ": ((0.9, 0.99), (0.4, 0.75)),
}
# Worth a note if nothing was found: a separator in so many of the strings, and of the blank, so many parts alone.
SUSPICIOUS = 1 / 3
BLANKS_ALONE = 0.1
CHANGE_IT = "set dataset.label_separator if not"


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows with their labels.

    names: every label, sorted. targets: 1 where a row carries a label, uint8 [rows, names].
    given: whether the row's labels were given [rows]: false where they are missing (null, NaN, ""), true with no labels
    where the row is known to carry none, by zeros in every label column or an empty list.
    several: whether rows may carry more than one label. unused_aliases: those whose old name no row carries.
    """

    names: tuple[str, ...]
    targets: csr_matrix
    given: NDArray[np.bool_]
    several: bool
    notes: tuple[str, ...]
    unused_aliases: frozenset[str]


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
    pairs = _pairs(values, separator)
    unused = frozenset(aliases).difference(pairs["label"].unique())
    names, by_string = _marks(pairs, len(values), _resolved(aliases))
    codes = strings.cast(pl.Enum(distinct)).to_physical().cast(pl.Int64).fill_null(len(distinct)).to_numpy()
    targets = csr_matrix(by_string[codes])
    several = listed or bool((by_string.getnnz(axis=1) > 1).any())
    # The last row of `by_string` is that of no string at all.
    empty = np.append((values == "").to_numpy(), False) if listed else np.zeros(len(distinct) + 1, np.bool_)
    given = (by_string.getnnz(axis=1) > 0) | empty
    return Labelled(names, targets, given[codes], several, notes, unused)


def _unpacked(distinct: pl.Series) -> pl.Series | None:
    """The strings with every JSON or Python list in them joined by `UNIT`; None if none is one, or one is only alike.

    Only an empty list is "": a cell without a list, and the lists of nothing but null or "", are missing.
    """
    alike = distinct.str.starts_with("[") & distinct.str.ends_with("]")
    if not alike.any():
        return None
    joined = [_as_list(value) if is_alike else value or UNIT for value, is_alike in zip(distinct, alike, strict=True)]
    return None if None in joined else pl.Series(joined, dtype=pl.String)


def _as_list(text: str) -> str | None:
    for parse in (json.loads, ast.literal_eval):
        try:
            values = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(values, list) and not any(isinstance(value, list | dict) for value in values):
            joined = UNIT.join(str(value) for value in values if value is not None)
            return joined or (UNIT if values else "")
    return None


def _find_separator(distinct: pl.Series, known: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """What joins labels in these strings, "" if nothing does, and a note that says so or doubts it."""
    strings = {stripped for each in distinct if (stripped := each.strip())}
    candidates = {separator: [each for each in strings if separator in each] for separator in SEPARATORS}
    doubts: list[str] = []
    for separator, joined in candidates.items():
        if not joined:
            continue
        alone, labels = _evidence(strings, joined, separator)
        if _fits_known(joined, separator, known) if known else _fits(alone, labels, separator):
            return separator, (f"labels were taken to be joined by {separator!r}, as in {_shortest(joined)!r}; {CHANGE_IT}",)
        if not known and len(joined) > SUSPICIOUS * len(strings) and (separator != " " or alone >= BLANKS_ALONE or labels <= 1):
            doubts.append(_doubt(strings, joined, separator))
    return "", tuple(doubts)


def _evidence(strings: set[str], joined: list[str], separator: str) -> tuple[float, float]:
    """The share of the parts' occurrences that stand alone in other strings, and labels for each string if it separates."""
    parts = [part for each in joined for part in map(str.strip, each.split(separator)) if part]
    alone = strings.difference(joined)
    return sum(part in alone for part in parts) / max(1, len(parts)), len(alone.union(parts)) / len(strings)


def _fits(alone: float, labels: float, separator: str) -> bool:
    return any(alone >= least and labels <= most for least, most in SIGNS[separator])


def _shortest(joined: list[str]) -> str:
    return min(joined, key=lambda each: (len(each), each))


def _doubt(strings: set[str], joined: list[str], separator: str) -> str:
    return (
        f"{len(joined):,} of {len(strings):,} different labels hold {separator!r}, such as {_shortest(joined)!r}; "
        "each was taken as one label: set dataset.label_separator if they are several"
    )


def _fits_known(joined: list[str], separator: str, known: frozenset[str]) -> bool:
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


def _pairs(values: pl.Series, separator: str) -> pl.DataFrame:
    """Every label in every string, as the strings have them: the index `string` and the `label`."""
    frame = pl.DataFrame({"string": np.arange(len(values)), "label": values})
    if separator:
        frame = frame.with_columns(pl.col("label").str.split(separator)).explode("label")
    return frame.with_columns(pl.col("label").str.strip_chars())


def _marks(pairs: pl.DataFrame, strings: int, aliases: dict[str, str]) -> tuple[tuple[str, ...], csr_matrix]:
    """All labels, sorted, and which of them each string holds, with an empty row at the end for no string at all."""
    pairs = pairs.with_columns(pl.col("label").replace(aliases)).filter(pl.col("label") != "").unique()
    names = pairs["label"].unique().sort()
    columns: NDArray[np.uint32] = pairs["label"].cast(pl.Enum(names)).to_physical().to_numpy()
    marks = np.ones(len(pairs), dtype=np.uint8)
    rows = pairs["string"].to_numpy()
    return tuple(names), csr_matrix((marks, (rows, columns)), shape=(strings + 1, len(names)))
