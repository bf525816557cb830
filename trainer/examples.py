"""Labelled texts as every step of the training passes them on: labels in memory, texts in a file.

Texts are most of the bytes of a dataset and are needed twice, in order; labels are needed all the time, in any order.
So a million texts cost the memory of their labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.manifest import Task

BATCH_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled texts, or a part of them.

    file: a Parquet file with the column `text`, shared by all parts of a dataset.
    rows: the rows of that file which belong here [examples], in order; a row may stand in it more than once.
    labels: the names of the columns of `targets`, sorted.
    targets: 1 where an example carries a label, uint8 [examples, labels].
    """

    file: Path
    rows: NDArray[np.int64]
    labels: tuple[str, ...]
    targets: csr_matrix
    task: Task

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, positions: NDArray[np.int64]) -> Examples:
        """The examples at these positions [any number], in that order."""
        return replace(self, rows=self.rows[positions], targets=self.targets[positions])

    def texts(self) -> list[str]:
        """Every text, in order."""
        wanted = pl.scan_parquet(self.file).select(pl.col("text").gather(pl.Series(self.rows, dtype=pl.UInt32)))
        return wanted.collect()["text"].to_list()

    def batches(self, size: int = BATCH_ROWS) -> Iterator[list[str]]:
        """The texts, in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self.select(np.arange(start, min(start + size, len(self)))).texts()

    def label_counts(self) -> NDArray[np.int64]:
        """How many examples carry each label [labels]."""
        return np.asarray(self.targets.sum(axis=0, dtype=np.int64)).ravel()
