"""Undersampling: drop texts of frequent labels, so that the labels' counts come near a threshold.

A text with several labels counts for each of them, so labels cannot be thinned out separately. `joint` solves for all
labels together. `any_label` is the simple rule, which keeps nearly all texts if they have several labels
(docs/experiments.md). Both return which examples stay [examples], and drop no text of a label at or below the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from trainer.balance.imbalance import label_counts

# A label above the threshold keeps at least this share of the threshold. With 1, labels that mostly occur with a very
# frequent one keep too many of its texts: on arXiv, 3,900 texts of the largest label for a threshold of 1,568; with 0.9, 3,360.
TOLERANCE = 0.9
# Minimum of a label's factor. Without it, a label whose texts with rare labels exceed the threshold would keep no other text.
LEAST = 0.05
MOST = np.exp(20.0)  # maximum of a label's factor
STEPS = 500
PRECISION = 1e-4  # of the counts, as a share of the threshold

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def median_count(targets: csr_matrix) -> int:
    """Return the median of the counts of the labels that have examples, at least 1."""
    counts = label_counts(targets)
    return max(1, int(np.median(counts[counts > 0]))) if counts.any() else 1


def joint(targets: csr_matrix, *, threshold: int, seed: int) -> Mask:
    """Keep each text with a probability that depends on all its labels, so that their counts come near the threshold.

    A text with a label at or below the threshold stays. Other texts stay with the product of their labels' factors, at most
    1. Among all probabilities that give the labels such counts, these are closest to keeping everything (maximum entropy:
    the sum of p log p - p + 1 is minimal). The expected count of a label is then the threshold. It is higher if other
    labels need its texts, and lower, down to `TOLERANCE` of the threshold, if that reduces the count of a much larger
    label. The factors are the solution of the convex dual, by L-BFGS-B. Texts are drawn separately for each label set, so
    that the counts vary little. No count, not only no expected count, falls below `least_counts`. The same seed gives the
    same texts; 1,000,000 texts take about a second.
    """
    counts = label_counts(targets)
    random = np.random.default_rng(seed)
    sets = _label_sets(targets, random)
    chances = _chances(sets, counts, threshold)[sets.of]
    kept = _draw(chances, sets.of, random)
    return refill(kept, targets, least=least_counts(counts, threshold), random=random)


def any_label(targets: csr_matrix, *, threshold: int, seed: int) -> Mask:
    """Keep a text if a random draw for any of its labels keeps it. A label drops with probability excess / count.

    A text is dropped only if the draws for all its labels drop it, so one label at or below the threshold keeps it. At least
    one text of each label stays.
    """
    counts = label_counts(targets)
    excess = np.maximum(0, counts - threshold) / np.maximum(1, counts)
    with np.errstate(divide="ignore"):
        chance_to_go = np.exp(targets.astype(np.float64) @ np.log(np.maximum(excess, np.finfo(float).tiny)))
    random = np.random.default_rng(seed)
    kept = (random.random(len(chance_to_go)) >= chance_to_go) | (targets.getnnz(axis=1) == 0)
    return refill(kept, targets, least=np.minimum(counts, 1), random=random)


def least_counts(counts: NDArray[np.int64], threshold: int) -> NDArray[np.int64]:
    """Return the minimum count of each label after `joint` [labels]."""
    return np.where(counts <= threshold, counts, int(np.ceil(TOLERANCE * threshold)))


def refill(kept: Mask, targets: csr_matrix, *, least: NDArray[np.int64], random: np.random.Generator) -> Mask:
    """Return `kept` with more texts, drawn at random, so that each label has at least `least` [labels]."""
    kept = kept.copy()
    short_of = np.flatnonzero(targets.T @ kept.astype(np.int64) < least)
    columns = targets.tocsc() if len(short_of) else targets
    for label in short_of:
        own = columns.indices[columns.indptr[label] : columns.indptr[label + 1]]
        short = int(least[label] - kept[own].sum())
        if short > 0:  # texts added for an earlier label may be enough
            kept[random.choice(own[~kept[own]], short, replace=False)] = True
    return kept


class _LabelSets(NamedTuple):
    """Distinct label sets; all rules here treat texts with the same labels alike.

    of: the set of each text [examples]. targets: the labels of each set [sets, labels]. sizes: number of its texts [sets].
    """

    of: NDArray[np.int64]
    targets: csr_matrix
    sizes: NDArray[np.int64]


def _label_sets(targets: csr_matrix, random: np.random.Generator) -> _LabelSets:
    # A set is identified by the sum, modulo 2^64, of a random number for each of its labels.
    numbers = random.integers(-(2**63), 2**63 - 1, size=targets.shape[1])
    hashed = targets.astype(np.int64) @ numbers
    order = np.argsort(hashed)
    begins = np.flatnonzero(np.diff(hashed[order], prepend=hashed[order[:1]] + 1))
    sizes = np.diff(begins, append=len(order))
    of = np.empty(len(order), np.int64)
    of[order] = np.repeat(np.arange(len(sizes)), sizes)
    return _LabelSets(of, csr_matrix(targets[order[begins]]), sizes)


def _chances(sets: _LabelSets, counts: NDArray[np.int64], threshold: int) -> Floats:
    """Return the probability that a text of each set stays [sets]."""
    chances = np.ones(len(sets.sizes))
    over = np.flatnonzero(counts > threshold)
    bound = (sets.targets @ (counts <= threshold).astype(np.int64) > 0) | (sets.targets.getnnz(axis=1) == 0)
    free = np.flatnonzero(~bound)
    if not len(free):
        return chances
    given = label_counts(csr_matrix(sets.targets[bound].multiply(sets.sizes[bound, None])))[over]
    marks = csr_matrix(sets.targets[free][:, over], dtype=np.float64)
    logs = _log_factors(marks, sets.sizes[free].astype(np.float64), given.astype(np.float64), float(threshold))
    chances[free] = np.exp(np.minimum(0, marks @ logs))
    return chances


def _log_factors(marks: csr_matrix, sizes: Floats, given: Floats, threshold: float) -> Floats:
    """Return the logarithm of each label's factor [labels], at the minimum of the dual.

    marks: labels of each set [sets, labels]. given: texts of each label that stay in any case.
    The logarithm is `up - down`, both at least 0. `up` has the lower target, `TOLERANCE` of the threshold.
    """
    labels, transposed = marks.shape[1], csr_matrix(marks.T)

    def dual(both: Floats) -> tuple[float, Floats]:
        up, down = both[:labels], both[labels:]
        logs = marks @ (up - down)
        chances = np.exp(np.minimum(0, logs))
        counts = transposed @ (sizes * chances) + given
        value = sizes @ np.where(logs < 0, chances, 1 + logs) + given @ (up - down)
        value += threshold * (down.sum() - TOLERANCE * up.sum())
        return float(value / threshold), np.concatenate((counts / threshold - TOLERANCE, 1 - counts / threshold))

    bounds = [(0, np.log(MOST))] * labels + [(0, -np.log(LEAST))] * labels
    solution = minimize(
        dual, np.zeros(2 * labels), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": STEPS, "gtol": PRECISION, "ftol": 0},
    ).x  # fmt: skip
    logs: Floats = solution[:labels] - solution[labels:]
    return logs


def _draw(chances: Floats, sets: NDArray[np.int64], random: np.random.Generator) -> Mask:
    """Draw each text with its probability, by systematic sampling with the texts sorted by set, in random order within.

    The number of texts kept of a set is its expectation, rounded up or down.
    """
    order = np.argsort(sets + random.random(len(sets)))
    passed = np.floor(np.cumsum(chances[order]) + random.random())
    kept = np.empty(len(chances), np.bool_)
    kept[order] = np.diff(passed, prepend=0) > 0
    return kept | (chances >= 1)
