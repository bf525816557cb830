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
# Rows that are read at once: a row group of the file that trainer.tables writes, so nothing is read for nothing.
WINDOW_ROWS = 8_192


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
        return _texts(self.file, self.rows).to_list()

    def batches(self, size: int = BATCH_ROWS) -> Iterator[list[str]]:
        """The texts, in order, at most `size` at a time.

        Where `rows` ascend, a batch costs the reading of its own stretch of the file; where they do not, of all the file.
        """
        for batch in self.text_series(size):
            yield batch.to_list()

    def text_series(self, size: int = BATCH_ROWS) -> Iterator[pl.Series]:
        """The same batches as series of strings, for what works on their bytes."""
        for start in range(0, len(self), size):
            yield _texts(self.file, self.rows[start : start + size])

    def label_counts(self) -> NDArray[np.int64]:
        """How many examples carry each label [labels]."""
        return np.asarray(self.targets.sum(axis=0, dtype=np.int64)).ravel()


def _texts(file: Path, rows: NDArray[np.int64]) -> pl.Series:
    """The texts of these rows, in that order; each window of the file is read at most once."""
    if len(rows) == 0:
        return pl.Series("text", [], dtype=pl.String)
    ascending, places = np.unique(rows, return_inverse=True)
    found = pl.concat(_windows(file, ascending))
    if len(ascending) == len(rows) and bool((ascending == rows).all()):
        return found
    return found.gather(pl.Series(places.ravel(), dtype=pl.UInt32))


def _windows(file: Path, ascending: NDArray[np.int64]) -> Iterator[pl.Series]:
    """The texts of ascending rows, window by window: only what is asked for stays in memory."""
    scan = pl.scan_parquet(file).select("text")
    windows, starts = np.unique(ascending // WINDOW_ROWS, return_index=True)
    for window, wanted in zip(windows, np.split(ascending, starts[1:]), strict=True):
        first = int(wanted[0])
        texts = scan.slice(first, int(wanted[-1]) - first + 1).collect()["text"]
        whole = len(texts) == len(wanted)
        yield texts if whole else texts.gather(pl.Series(wanted - first, dtype=pl.UInt32))
        del window
