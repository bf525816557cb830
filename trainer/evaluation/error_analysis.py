"""Errors of a model on a part of the data, its calibration, and intervals of its scores: arrays to arrays.

Knows no report, no file and no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

PAIRS = 15  # maximum number of confused pairs that are shown
BINS = 10  # number of equal ranges of probability, for the calibration
POINTS = 200  # maximum number in a precision-recall curve
RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Decisions:
    """True positives, false negatives and false positives, as ones in int64 [texts, labels]."""

    right: csr_matrix
    missed: csr_matrix
    wrong: csr_matrix


def compare(targets: csr_matrix, predicted: csr_matrix | NDArray[np.bool_]) -> Decisions:
    """Return the decisions from targets and predictions, both [texts, labels]."""
    truth, given = csr_matrix(targets, dtype=np.int64), csr_matrix(predicted, dtype=np.int64)
    right = truth.multiply(given).tocsr()
    missed, wrong = truth - right, given - right
    missed.eliminate_zeros()
    wrong.eliminate_zeros()
    return Decisions(right, missed, wrong)


def confused_pairs(decisions: Decisions) -> list[tuple[int, int, int]]:
    """Return (first, second, texts): the number of texts where the first label was missed and the second wrongly predicted.

    The largest numbers come first. For single-label, this is the confusion matrix without its diagonal.
    """
    pairs = (decisions.missed.T @ decisions.wrong).tocoo()
    order = np.lexsort((pairs.col, pairs.row, -pairs.data))[:PAIRS]
    return [(int(pairs.row[at]), int(pairs.col[at]), int(pairs.data[at])) for at in order]


def reliability(probabilities: NDArray[np.float32], right: NDArray[np.bool_]) -> tuple[Floats, Floats, Counts, float]:
    """Return mean probability, share that is right and count of decisions per bin, all [BINS], and the calibration error.

    The expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015) is the mean absolute difference of the first two,
    weighted by the counts. Empty bins hold zeros.
    """
    bins = np.minimum((probabilities * BINS).astype(np.int8), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    mean = np.bincount(bins, weights=probabilities, minlength=BINS) / np.maximum(counts, 1)
    share = np.bincount(bins, weights=right, minlength=BINS) / np.maximum(counts, 1)
    return mean, share, counts, float(np.abs(mean - share) @ counts / counts.sum())


def precision_recall(probabilities: NDArray[np.float32], truth: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return recall and precision at the probability of each positive decision, highest first; both [positives]."""
    ranked, positives = np.sort(probabilities), np.sort(probabilities[truth])
    true_positives = len(positives) - np.searchsorted(positives, positives[::-1])
    predicted = len(ranked) - np.searchsorted(ranked, positives[::-1])
    return true_positives / max(1, len(positives)), true_positives / predicted


def intervals(decisions: Decisions, *, seed: int) -> tuple[float, float, float]:
    """Return half the width of the 95 % interval of micro-F1, macro-F1 and subset accuracy.

    Bootstrap (Efron 1979) over the texts: it estimates how the scores would vary with other texts of the same kind.
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
    """Return at most POINTS points of a precision-recall curve, evenly spaced, including the first and the last."""
    kept = np.unique(np.linspace(0, len(recall) - 1, POINTS).astype(np.int64))
    return recall[kept], precision[kept]


def label_sums(decisions: csr_matrix) -> Counts:
    """Return the number of texts for each label [labels]."""
    return np.asarray(decisions.sum(axis=0)).ravel()
