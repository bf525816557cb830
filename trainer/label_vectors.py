"""Label vectors: lists of 0 and 1 that say which labels apply and not what the labels are called. Refused, since as names
of labels they would put the labels 0 and 1 on every text, and every score would be perfect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.rejections import DatasetRejected
from trainer.shown import shown

MARK = r"^(?:[01](?:\.0*)?|true|false)$"
SCORE = r"^(?:0?\.\d+|\d(?:\.\d+)?e-\d+)$"
JOINED = r"^\s*[01](?:\.0*)?(?:\s*[,;|\s]\s*[01](?:\.0*)?)+\s*$"
BETWEEN = r"\s*[,;|\s]\s*"


def refuse_vectors(
    pairs: pl.DataFrame, distinct: pl.Series, rows: NDArray[np.int64], where: Callable[[int], str]
) -> None:
    """Raise DatasetRejected if at least half of the rows that hold anything hold vectors of 0 and 1, or of scores.

    pairs: every label in every string. rows: how many rows hold each string. where: names a string's first row.

    A set of labels whose names are 0 and 1 never repeats a name, and hardly ever holds both in every row.
    """
    items = pairs.filter(pl.col("label") != "")
    found = _vectors(pl.concat([items, _joined(items, distinct)]), rows)
    if found is None:
        return
    raise DatasetRejected(
        f"labels are given as vectors of 0 and 1, such as {shown(_as_written(distinct[found]))} ({where(found)}), which do not say "
        "what the labels are called: give one column of 0 and 1 for each label, named after it, or lists of the labels' names"
    )


def _joined(items: pl.DataFrame, distinct: pl.Series) -> pl.DataFrame:
    """The parts of strings such as "0 1 0 0" that were taken whole."""
    whole = items.filter(pl.col("label").str.contains(JOINED))
    # In place of nothing else: a string that was taken whole has one item, and a count of one decides nothing.
    parts = whole.with_columns(pl.col("label").str.strip_chars().str.replace_all(BETWEEN, "\x1f").str.split("\x1f"))
    return parts.explode("label").select(items.columns) if len(distinct) else items.clear()


def _vectors(items: pl.DataFrame, rows: NDArray[np.int64]) -> int | None:
    """The first string that is a vector, if the column consists of them."""
    lower = pl.col("label").str.to_lowercase()
    names = items.select(lower.unique())["label"]
    if not (names.str.contains(MARK) | names.str.contains(SCORE)).any():
        return None
    mark, score = lower.str.contains(MARK), lower.str.contains(SCORE)
    strings = items.group_by("string").agg(
        several=pl.len() > 1,
        marks=(mark | score | lower.str.contains(JOINED)).all(),
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
    return text.replace("\x1f", ", ")
