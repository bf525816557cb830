"""Labelled texts in the form that all steps of a training use: labels in memory, texts in a file.

Texts are most of the bytes of a dataset and are read only a few times, in order. Labels are needed often, in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from model.manifest import Task

BATCH_ROWS = 10_000
# Rows per read: a row group of the file that trainer.data.tables writes.
WINDOW_ROWS = 8_192


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled texts, or a part of them.

    file: a Parquet file with the column `text`, shared by all parts of a dataset.
    rows: row of each example in that file [examples]; a row may occur more than once.
    labels: the names of the columns of `targets`, sorted.
    targets: 1 where an example has a label, uint8 [examples, labels].
    label_required: whether every text has a label; if not, an example without a label is known to have none.
    more_files: further files with a column `text`, whose rows are numbered on.
    """

    file: Path
    rows: NDArray[np.int64]
    labels: tuple[str, ...]
    targets: csr_matrix
    task: Task
    label_required: bool = True
    more_files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, positions: NDArray[np.int64]) -> Examples:
        """Return the examples at these positions, in that order."""
        return replace(self, rows=self.rows[positions], targets=self.targets[positions])

    def texts(self) -> list[str]:
        """Return all texts, in order."""
        return _texts(self._scan(), self.rows).to_list()

    def batches(self, size: int = BATCH_ROWS) -> Iterator[list[str]]:
        """Yield the texts, in order, at most `size` at a time.

        If `rows` ascend, a batch reads its own part of the file; otherwise it may read the whole file.
        """
        for batch in self.text_series(size):
            yield batch.to_list()

    def text_series(self, size: int = BATCH_ROWS) -> Iterator[pl.Series]:
        """Yield the texts as `batches` does, as series of strings."""
        for start in range(0, len(self), size):
            yield _texts(self._scan(), self.rows[start : start + size])

    def label_counts(self) -> NDArray[np.int64]:
        """Return the number of examples with each label [labels]."""
        return np.asarray(self.targets.sum(axis=0, dtype=np.int64)).ravel()

    def without_label(self) -> NDArray[np.bool_]:
        """Return which examples have no label [examples]."""
        return np.asarray(self.targets.getnnz(axis=1) == 0)

    def rows_in_files(self) -> int:
        """Return the number of rows of all files together, whether or not they are examples."""
        return int(self._scan().select(pl.len()).collect().item())

    @property
    def can_be_told_apart(self) -> bool:
        """Whether there is something to learn: two labels, or one that some examples are known not to have."""
        fewest = 1 if not self.label_required and self.without_label().any() else 2
        return len(self.labels) >= fewest

    def strata(self) -> csr_matrix:
        """Return the targets; if no label is required, with an extra column that is 1 for examples without a label.

        Stratification and undersampling then treat examples without a label as those of an extra label.
        """
        if self.label_required:
            return self.targets
        without = csr_matrix(self.without_label().astype(self.targets.dtype)[:, None])
        return csr_matrix(hstack([self.targets, without]))

    def _scan(self) -> pl.LazyFrame:
        return pl.scan_parquet([self.file, *self.more_files], missing_columns="insert").select("text")


def _texts(scan: pl.LazyFrame, rows: NDArray[np.int64]) -> pl.Series:
    """Return the texts of these rows, in that order. Each window of the files is read at most once."""
    if len(rows) == 0:
        return pl.Series("text", [], dtype=pl.String)
    ascending, places = np.unique(rows, return_inverse=True)
    texts = pl.concat(_windows(scan, ascending))
    if len(ascending) == len(rows) and bool((ascending == rows).all()):
        return texts
    return texts.gather(pl.Series(places.ravel(), dtype=pl.UInt32))


def _windows(scan: pl.LazyFrame, ascending: NDArray[np.int64]) -> Iterator[pl.Series]:
    """Yield the texts of ascending rows, window by window, so that only these texts are kept in memory."""
    windows, starts = np.unique(ascending // WINDOW_ROWS, return_index=True)
    for window, wanted in zip(windows, np.split(ascending, starts[1:]), strict=True):
        first = int(wanted[0])
        texts = scan.slice(first, int(wanted[-1]) - first + 1).collect()["text"]
        whole = len(texts) == len(wanted)
        yield texts if whole else texts.gather(pl.Series(wanted - first, dtype=pl.UInt32))
        del window
