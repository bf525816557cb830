"""Measures of the imbalance of labels, before and after balancing.

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
    """Imbalance of a dataset. Labels without texts do not count.

    texts: number of texts. largest, median, smallest: texts of a label. worst_ratio: the largest IRLbl. mean_ratio: MeanIR.
    without_label: texts that have none.
    """

    texts: int
    largest: int
    median: float
    smallest: int
    worst_ratio: float
    mean_ratio: float
    without_label: int = 0


def measure(targets: csr_matrix) -> Imbalance:
    """Return the imbalance of these examples [examples, labels]; all zeros if no example has a label."""
    counts = label_counts(targets)
    support = counts[counts > 0]
    without_label = int((targets.getnnz(axis=1) == 0).sum())
    if not len(support):
        return Imbalance(targets.shape[0], 0, 0.0, 0, 0.0, 0.0, without_label)
    ratios = label_ratios(support)
    return Imbalance(
        texts=targets.shape[0],
        largest=int(support.max()),
        median=float(np.median(support)),
        smallest=int(support.min()),
        worst_ratio=float(ratios.max()),
        mean_ratio=float(ratios.mean()),
        without_label=without_label,
    )


def label_counts(targets: csr_matrix) -> NDArray[np.int64]:
    """Return the number of examples with each label [labels]."""
    return np.asarray(targets.sum(axis=0, dtype=np.int64)).ravel()


def label_ratios(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the IRLbl of each label [labels]: the count of the most frequent label divided by its own; inf if its own is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts > 0, counts.max(initial=0) / counts, np.inf)


def mean_ratio(counts: NDArray[np.int64]) -> float:
    """Return MeanIR: the mean IRLbl of the labels that have examples, 0 if there are no such labels."""
    support = counts[counts > 0]
    return float(label_ratios(support).mean()) if len(support) else 0.0


def concurrence(targets: csr_matrix) -> float:
    """Return SCUMBLE: how often frequent and rare labels occur in the same texts, from 0 (never) to 1.

    For each text with labels, it is 1 minus the ratio of geometric to arithmetic mean of the labels' IRLbl; these are
    averaged.
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
    """Return a weight for each label [labels], 1 at average frequency.

    It is the square root of the inverse frequency: a label that is a hundred times rarer counts ten times as much. With the
    inverse frequency itself, a few texts would outweigh all others.
    """
    counts = np.maximum(1, label_counts(targets))
    return np.asarray(np.sqrt(counts.mean() / counts), np.float32)
