"""Which texts of frequent labels stay, so that the labels' counts come near a threshold.

A text of several labels counts for each of them, so no label can be thinned out alone. `joint` solves for all labels at
once; `any_label` is the simple rule, which keeps nearly everything where texts have several labels (docs/experiments.md).
Both return which examples stay [examples], and neither takes a text from a label at or below the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from trainer.balance.imbalance import label_counts

# A label above the threshold keeps at least this share of it. With 1, labels that mostly stand beside a very frequent one
# hold that one up: on arXiv, 3,900 texts of the largest label for a threshold of 1,568, where 0.9 leaves 3,360.
TOLERANCE = 0.9
# The least that a label alone may multiply a text's chances by. Without it, a label whose texts with rare labels exceed
# the threshold already would keep no text of its own.
LEAST = 0.05
MOST = np.exp(20.0)  # what a label may multiply them by to keep its texts against another
STEPS = 500
PRECISION = 1e-4  # of the threshold; how far from solved the counts may be

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def median_count(targets: csr_matrix) -> int:
    """The median of the counts of the labels that are there, at least 1."""
    counts = label_counts(targets)
    return max(1, int(np.median(counts[counts > 0]))) if counts.any() else 1


def joint(targets: csr_matrix, *, threshold: int, seed: int) -> Mask:
    """Keep each text with a chance that depends on all its labels together, so that their counts come near the threshold.

    A text with a label at or below the threshold stays. Any other stays with the product of its labels' factors, at most
    1; of all chances that give the labels such counts, these are the ones nearest to keeping everything (maximum entropy:
    the sum of p log p - p + 1 is least). A label's expected count is then the threshold; more where texts that other
    labels need make it so; less, down to `TOLERANCE` of it, where that relieves a label which has far more. The factors
    are the solution of the convex dual, by L-BFGS-B. Which texts stay is drawn set of labels by set of labels, so that
    counts vary little. The promise is on the counts themselves, not only on expectations: none falls below
    `least_counts`. Same seed, same texts; 1,000,000 texts take about a second.
    """
    counts = label_counts(targets)
    random = np.random.default_rng(seed)
    sets = _label_sets(targets, random)
    chances = _chances(sets, counts, threshold)[sets.of]
    kept = _draw(chances, sets.of, random)
    return refill(kept, targets, least=least_counts(counts, threshold), random=random)


def any_label(targets: csr_matrix, *, threshold: int, seed: int) -> Mask:
    """Keep a text if any of its labels draws to keep it, each dropping with its excess over its count.

    So a text goes only where all its labels draw so, and one label at or below the threshold saves it. This is the rule
    of the system that this one follows, but seeded, and at least one text of each label stays.
    """
    counts = label_counts(targets)
    excess = np.maximum(0, counts - threshold) / np.maximum(1, counts)
    with np.errstate(divide="ignore"):
        chance_to_go = np.exp(targets.astype(np.float64) @ np.log(np.maximum(excess, np.finfo(float).tiny)))
    random = np.random.default_rng(seed)
    kept = (random.random(len(chance_to_go)) >= chance_to_go) | (targets.getnnz(axis=1) == 0)
    return refill(kept, targets, least=np.minimum(counts, 1), random=random)


def least_counts(counts: NDArray[np.int64], threshold: int) -> NDArray[np.int64]:
    """What `joint` leaves of each label at least [labels]."""
    return np.where(counts <= threshold, counts, int(np.ceil(TOLERANCE * threshold)))


def refill(kept: Mask, targets: csr_matrix, *, least: NDArray[np.int64], random: np.random.Generator) -> Mask:
    """`kept`, with as many more texts, drawn at random, as bring each label to `least` [labels]."""
    kept = kept.copy()
    short_of = np.flatnonzero(targets.T @ kept.astype(np.int64) < least)
    columns = targets.tocsc() if len(short_of) else targets
    for label in short_of:
        own = columns.indices[columns.indptr[label] : columns.indptr[label + 1]]
        short = int(least[label] - kept[own].sum())
        if short > 0:  # what an earlier label brought back may be enough
            kept[random.choice(own[~kept[own]], short, replace=False)] = True
    return kept


class _LabelSets(NamedTuple):
    """Texts with the same labels are alike to every rule here.

    of: the set of each text [examples]. targets: the labels of each set [sets, labels]. sizes: its texts [sets].
    """

    of: NDArray[np.int64]
    targets: csr_matrix
    sizes: NDArray[np.int64]


def _label_sets(targets: csr_matrix, random: np.random.Generator) -> _LabelSets:
    # A random number for each label; their sum, which may wrap around, stands for the set.
    numbers = random.integers(-(2**63), 2**63 - 1, size=targets.shape[1])
    hashed = targets.astype(np.int64) @ numbers
    order = np.argsort(hashed)
    begins = np.flatnonzero(np.diff(hashed[order], prepend=hashed[order[:1]] + 1))
    sizes = np.diff(begins, append=len(order))
    of = np.empty(len(order), np.int64)
    of[order] = np.repeat(np.arange(len(sizes)), sizes)
    return _LabelSets(of, csr_matrix(targets[order[begins]]), sizes)


def _chances(sets: _LabelSets, counts: NDArray[np.int64], threshold: int) -> Floats:
    """How likely a text of each set stays [sets]."""
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
    """The logarithm of each label's factor [labels], at the least of the dual.

    marks: labels of each set [sets, labels]. given: texts of each label that stay anyway.
    The factor's logarithm is `up - down`, both at least 0: a label that is pushed up has the lower goal.
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
    found = minimize(
        dual, np.zeros(2 * labels), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": STEPS, "gtol": PRECISION, "ftol": 0},
    ).x  # fmt: skip
    logs: Floats = found[:labels] - found[labels:]
    return logs


def _draw(chances: Floats, sets: NDArray[np.int64], random: np.random.Generator) -> Mask:
    """Each text with its chance: systematic sampling, the texts in random order but those of a set side by side.

    So of a set's texts the expected number stays, rounded up or down.
    """
    order = np.argsort(sets + random.random(len(sets)))
    passed = np.floor(np.cumsum(chances[order]) + random.random())
    kept = np.empty(len(chances), np.bool_)
    kept[order] = np.diff(passed, prepend=0) > 0
    return kept | (chances >= 1)
