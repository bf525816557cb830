"""ML-ROS oversampling: repeat texts of rare labels.

Charte, Rivera, del Jesus and Herrera, "Addressing imbalance in multilabel classification: Measures and random resampling
algorithms", Neurocomputing 163, 2015.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.balance.imbalance import label_counts, label_ratios, mean_ratio
from trainer.parallel.compiled import compiled


def ml_ros(targets: csr_matrix, *, share: float, seed: int) -> NDArray[np.int64]:
    """Return how often each text is used [examples], at least once.

    Labels rarer than the mean (IRLbl above MeanIR) take turns. At each turn, a random text of the label is repeated. A
    label drops out once its IRLbl has fallen to the initial MeanIR. Stop when all labels have dropped out, or when `share`
    of the original number of texts has been added. The same seed gives the same texts.
    """
    counts = label_counts(targets)
    mean = mean_ratio(counts)
    minority = np.flatnonzero((counts > 0) & (label_ratios(counts) > mean))
    times = np.ones(targets.shape[0], np.int64)
    budget = int(share * targets.shape[0])
    if not len(minority) or not budget:
        return times
    columns = targets.tocsc()
    lots = np.random.default_rng(seed).random(budget)
    rows, bags = (targets.indptr, targets.indices), (columns.indptr, columns.indices)
    _repeat(rows, bags, counts, minority, lots, mean, times)
    return times


@compiled
def _repeat(
    rows: tuple[NDArray[np.int32], NDArray[np.int32]],
    bags: tuple[NDArray[np.int32], NDArray[np.int32]],
    counts: NDArray[np.int64],
    minority: NDArray[np.int64],
    lots: NDArray[np.float64],
    mean: float,
    times: NDArray[np.int64],
) -> None:
    """Add repetitions to `times` and to the labels' `counts`. lots: a random number in [0, 1) for each repetition."""
    open_bags = np.ones(len(minority), np.bool_)
    left, largest, drawn = len(minority), counts.max(), 0
    while left > 0:
        for at in range(len(minority)):
            if not open_bags[at]:
                continue
            label = minority[at]
            if largest <= mean * counts[label]:
                open_bags[at] = False
                left -= 1
                continue
            if drawn == len(lots):
                return
            begin = bags[0][label]
            text = bags[1][begin + int(lots[drawn] * (bags[0][label + 1] - begin))]
            drawn += 1
            times[text] += 1
            for place in range(rows[0][text], rows[0][text + 1]):
                counts[rows[1][place]] += 1
                largest = max(largest, counts[rows[1][place]])
