"""How unevenly texts are spread over labels: measures that say whether balancing is worth it, and what it did.

IRLbl, MeanIR and SCUMBLE are those of Charte, Rivera, del Jesus and Herrera: "Addressing imbalance in multilabel
classification: Measures and random resampling algorithms", Neurocomputing 163, 2015, and "Concurrence among imbalanced
labels and its influence on multilabel resampling algorithms", HAIS 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Imbalance:
    """A dataset's imbalance; labels that no text carries do not count.

    texts: how many there are. largest, median, smallest: texts of a label. worst_ratio: the largest IRLbl. mean_ratio: MeanIR.
    without_label: texts that carry none.
    """

    texts: int
    largest: int
    median: float
    smallest: int
    worst_ratio: float
    mean_ratio: float
    without_label: int = 0


def measure(targets: csr_matrix) -> Imbalance:
    """The imbalance of these examples [examples, labels]; all zeros where nothing carries a label."""
    counts = label_counts(targets)
    carried = counts[counts > 0]
    without_label = int((targets.getnnz(axis=1) == 0).sum())
    if not len(carried):
        return Imbalance(targets.shape[0], 0, 0.0, 0, 0.0, 0.0, without_label)
    ratios = label_ratios(carried)
    return Imbalance(
        texts=targets.shape[0],
        largest=int(carried.max()),
        median=float(np.median(carried)),
        smallest=int(carried.min()),
        worst_ratio=float(ratios.max()),
        mean_ratio=float(ratios.mean()),
        without_label=without_label,
    )


def label_counts(targets: csr_matrix) -> NDArray[np.int64]:
    """How many examples carry each label [labels]."""
    return np.asarray(targets.sum(axis=0, dtype=np.int64)).ravel()


def label_ratios(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """IRLbl of each label [labels]: how many times the most frequent label is as frequent; inf for one that nothing carries."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts > 0, counts.max(initial=0) / counts, np.inf)


def mean_ratio(counts: NDArray[np.int64]) -> float:
    """MeanIR: the mean IRLbl of the labels that something carries, 0 if there is none."""
    carried = counts[counts > 0]
    return float(label_ratios(carried).mean()) if len(carried) else 0.0


def concurrence(targets: csr_matrix) -> float:
    """SCUMBLE: how much frequent and rare labels stand in the same texts, from 0 (never) to 1.

    The mean, over texts with labels, of one minus the geometric over the arithmetic mean of their labels' IRLbl.
    """
    sizes = targets.getnnz(axis=1)
    if not sizes.any():
        return 0.0
    ratios = label_ratios(label_counts(targets))
    ratios[np.isinf(ratios)] = 1.0
    marks = targets.astype(np.float64)[sizes > 0]
    sizes = sizes[sizes > 0]
    geometric = np.exp(marks @ np.log(ratios) / sizes)
    return float(1 - (geometric / (marks @ ratios / sizes)).mean())


def rarity(targets: csr_matrix) -> NDArray[np.float32]:
    """A weight for each label [labels], 1 for one of average frequency.

    The square root of the inverse frequency: a label that is a hundred times rarer counts ten times as much. The full
    inverse would let a handful of texts outweigh all others.
    """
    counts = np.maximum(1, label_counts(targets))
    return np.asarray(np.sqrt(counts.mean() / counts), np.float32)
