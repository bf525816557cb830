"""Refuse label vectors: lists of 0 and 1 that say which labels apply, but not what they are called.

If 0 and 1 were read as names, every text would have both labels, and every score would be perfect.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.data.tables import UNIT
from trainer.errors import DatasetRejected
from trainer.shown_values import shown

MARK = r"^(?:[01](?:\.0*)?|true|false)$"
SCORE = r"^(?:0?\.\d+|\d(?:\.\d+)?e-\d+)$"
JOINED = r"^\s*[01](?:\.0*)?(?:\s*[,;|\s]\s*[01](?:\.0*)?)+\s*$"
BITS = r"^[01]{2,}$"
BETWEEN = r"\s*[,;|\s]\s*"


def refuse_vectors(pairs: pl.DataFrame, distinct: pl.Series, rows: NDArray[np.int64], where: Callable[[int], str]) -> None:
    """Raise DatasetRejected if at least half of the rows with labels have vectors of 0 and 1, or of scores.

    pairs: all labels of all strings. rows: number of rows with each string. where: returns the place of a string's first row.
    Lists of labels that are called 0 and 1 are not refused: they do not repeat a name, and rarely have both in every row.
    """
    items = pairs.filter(pl.col("label") != "")
    whole = distinct.str.contains(JOINED)
    if whole.any():  # such as "0, 1, 0", whatever the separator of the column is
        items = pl.concat(
            [items.filter(~pl.col("string").is_in(whole.arg_true().cast(pl.Int64).implode())), _apart(distinct, whole)]
        )
    vector = _vectors(items, rows)
    if vector is None:
        return
    raise DatasetRejected(
        f"labels are given as vectors of 0 and 1, such as {shown(_as_written(distinct[vector]))} ({where(vector)}), which do not "
        "say what the labels are called: give one column of 0 and 1 for each label, named after it, or lists of the labels' names"
    )


def refuse_bits(distinct: pl.Series, known: frozenset[str], where: Callable[[int], str]) -> None:
    """Raise DatasetRejected if all strings are bits of one length without a separator, such as "0100".

    known: expected labels, which may have such names. Numbers such as 10 and 11 are not bits: none begins with 0.
    """
    filled = distinct.str.strip_chars()
    filled = filled.filter(filled != "")
    if (
        not len(filled)
        or not known.isdisjoint(filled)
        or not filled.str.contains(BITS).all()
        or filled.str.len_chars().n_unique() > 1
    ):
        return
    if len(filled) < 2 or not filled.str.starts_with("0").any() or not filled.str.contains("1", literal=True).any():
        return
    first = int(distinct.str.contains("01|10").arg_max() or 0)
    raise DatasetRejected(
        f"each label cell is a row of the digits 0 and 1, such as {shown(distinct[first])} ({where(first)}): if each digit says "
        "whether a label applies, give one column of 0 and 1 for each label, named after it; if the whole is a label's name, set "
        "dataset.label_separator to '' (nothing)"
    )


def _apart(distinct: pl.Series, whole: pl.Series) -> pl.DataFrame:
    parts = distinct.filter(whole).str.strip_chars().str.replace_all(BETWEEN, UNIT).str.split(UNIT)
    return pl.DataFrame({"string": whole.arg_true().cast(pl.Int64), "label": parts}).explode("label")


def _vectors(items: pl.DataFrame, rows: NDArray[np.int64]) -> int | None:
    """Return the index of the first vector if the column consists of vectors, else None."""
    lower = pl.col("label").str.to_lowercase()
    names = items.select(lower.unique())["label"]
    if not (names.str.contains(MARK) | names.str.contains(SCORE)).any():
        return None
    mark, score = lower.str.contains(MARK), lower.str.contains(SCORE)
    strings = items.group_by("string").agg(
        several=pl.len() > 1,
        marks=(mark | score).all(),
        telling=(mark & lower.is_duplicated()).any() | score.any(),
    )
    vectors = strings.filter(pl.col("several") & pl.col("marks")).sort("string")
    filled = int(rows[strings["string"].to_numpy()].sum())
    of_vectors = int(rows[vectors["string"].to_numpy()].sum())
    telling = vectors.filter(pl.col("telling"))
    if not len(vectors) or (of_vectors < filled and (2 * of_vectors < filled or not len(telling))):
        return None
    return int((telling if len(telling) else vectors)["string"][0])


def _as_written(text: str) -> str:
    return text.replace(UNIT, ", ")
