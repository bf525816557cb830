"""Examples with labels and without texts, for tests of the split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.manifest import Task
from trainer.data.examples import Examples


def examples_with(targets: NDArray[np.int64]) -> Examples:
    labels = tuple(f"label {index}" for index in range(targets.shape[1]))
    matrix = csr_matrix(targets.astype(np.uint8))
    return Examples(Path("unread.parquet"), 10 * np.arange(len(targets)), labels, matrix, Task.MULTI_LABEL)


def random_targets(random: np.random.Generator, rows: int, labels: int) -> NDArray[np.int64]:
    """Return random targets with at least one label per row; the last labels are rare."""
    rates = 0.5 / (1 + np.arange(labels))
    targets = (random.random((rows, labels)) < rates).astype(np.int64)
    targets[np.arange(rows), random.integers(labels, size=rows)] = 1
    return targets
