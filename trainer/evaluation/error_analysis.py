"""What a model gets wrong on a part of the data, and how far its scores can be trusted: arrays to arrays.

Knows no report, no file and no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

PAIRS = 15  # confused pairs that are worth a look
BINS = 10  # of probability, for the calibration
POINTS = 200  # of a precision-recall curve, so that it does not grow with the texts
RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Decisions:
    """The labels that are given and right, due and missed, given and wrong: ones in int64 [texts, labels]."""

    right: csr_matrix
    missed: csr_matrix
    wrong: csr_matrix


def compare(targets: csr_matrix, predicted: csr_matrix | NDArray[np.bool_]) -> Decisions:
    """Each label that is due or given, both [texts, labels], by whether it should have been."""
    due, given = csr_matrix(targets, dtype=np.int64), csr_matrix(predicted, dtype=np.int64)
    right = due.multiply(given).tocsr()
    missed, wrong = due - right, given - right
    missed.eliminate_zeros()
    wrong.eliminate_zeros()
    return Decisions(right, missed, wrong)


def confused_pairs(decisions: Decisions) -> list[tuple[int, int, int]]:
    """Texts where the first label was missed and the second wrongly given: (first, second, texts), the most first.

    With one label a text, that is the confusion matrix without its diagonal.
    """
    pairs = (decisions.missed.T @ decisions.wrong).tocoo()
    order = np.lexsort((pairs.col, pairs.row, -pairs.data))[:PAIRS]
    return [(int(pairs.row[at]), int(pairs.col[at]), int(pairs.data[at])) for at in order]


def reliability(probabilities: NDArray[np.float32], right: NDArray[np.bool_]) -> tuple[Floats, Floats, Counts, float]:
    """Mean probability, share right and count, all [BINS], of decisions in bins of probability, and the calibration error.

    The expected calibration error of Naeini, Cooper and Hauskrecht (AAAI 2015): the distance between the first two,
    each bin weighted by its count. Empty bins hold zeros.
    """
    bins = np.minimum((probabilities * BINS).astype(np.int8), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    mean = np.bincount(bins, weights=probabilities, minlength=BINS) / np.maximum(counts, 1)
    share = np.bincount(bins, weights=right, minlength=BINS) / np.maximum(counts, 1)
    return mean, share, counts, float(np.abs(mean - share) @ counts / counts.sum())


def precision_recall(probabilities: NDArray[np.float32], due: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Recall and precision at the probability of each decision that is due, highest first; both [due]."""
    ranked, positives = np.sort(probabilities), np.sort(probabilities[due])
    found = len(positives) - np.searchsorted(positives, positives[::-1])
    given = len(ranked) - np.searchsorted(ranked, positives[::-1])
    return found / max(1, len(positives)), found / given


def intervals(decisions: Decisions, *, seed: int) -> tuple[float, float, float]:
    """Half the width of the 95 % interval of micro-F1, macro-F1 and subset accuracy.

    A bootstrap (Efron 1979) over the texts: how much the scores would move if other texts of the same kind were the test.
    """
    texts = decisions.right.shape[0]
    flawless = (decisions.missed.getnnz(axis=1) + decisions.wrong.getnnz(axis=1)) == 0
    kinds = [each.T.tocsr() for each in (decisions.right, decisions.missed, decisions.wrong)]
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(texts, size=texts), minlength=texts)
        right, missed, wrong = (each @ times for each in kinds)
        f1 = 2 * right / np.maximum(1, 2 * right + missed + wrong)
        micro = 2 * right.sum() / max(1, (2 * right + missed + wrong).sum())
        drawn.append((micro, f1[right + missed > 0].mean() if np.any(right + missed) else 0.0, flawless @ times / texts))
    low, high = np.quantile(np.array(drawn), (0.025, 0.975), axis=0)
    micro, macro, subset = (high - low) / 2
    return float(micro), float(macro), float(subset)


def thinned(recall: Floats, precision: Floats) -> tuple[Floats, Floats]:
    """At most POINTS of a precision-recall curve, at even steps of recall, first and last included."""
    kept = np.unique(np.linspace(0, len(recall) - 1, POINTS).astype(np.int64))
    return recall[kept], precision[kept]


def label_sums(decisions: csr_matrix) -> Counts:
    """Texts for each label [labels]."""
    return np.asarray(decisions.sum(axis=0)).ravel()
