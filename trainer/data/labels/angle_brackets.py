"""Labels in angle brackets, `<python><pandas>`, as Stack Overflow's dumps write the tags of a question."""

from __future__ import annotations

import numpy as np
import polars as pl

from trainer.data.labels.list_columns import Cells

TAGS = r"^\s*(?:<[^<>]+>\s*)+$"
TAG = r"<([^<>]+)>"


def read_tags(distinct: pl.Series, known: frozenset[str]) -> Cells | None:
    """Return the labels in each string; None unless all strings are tags, and some have several tags or a known one."""
    filled = distinct.str.strip_chars() != ""
    if not filled.any() or not distinct.filter(filled).str.contains(TAGS).all() or not known.isdisjoint(distinct):
        return None
    frame = pl.DataFrame({"string": np.arange(len(distinct)), "label": distinct.str.extract_all(TAG)})
    several = (frame["label"].list.len() > 1).any()
    pairs = (
        frame.explode("label")
        .drop_nulls()
        .with_columns(pl.col("label").str.strip_chars().str.strip_chars("<>").str.strip_chars())
    )
    if not several and known.isdisjoint(pairs["label"]):
        return None
    return Cells(pairs, np.zeros(len(distinct), np.bool_), "tags in angle brackets", listed=False)
