"""Co-occurrence of labels: pairs, implications and a matrix. Works on arrays and does not know texts.

Lift and confidence as in Brin, Motwani, Ullman and Tsur, "Dynamic itemset counting and implication rules for market
basket data", SIGMOD 1997.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.sparse import csr_matrix, triu
from scipy.spatial.distance import squareform

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

ENOUGH = 5  # minimum number of texts with both labels; fewer may be chance
IMPLIES = 0.95
IN_THE_MAP = 25
MOST_PAIRS = 1_000


@dataclass(frozen=True)
class Pair:
    """Two labels, by their numbers, that occur together more often than by chance.

    together: texts with both. jaccard: share of texts with both among those with either. lift: how many times as often as
    if the labels were independent.
    """

    one: int
    other: int
    together: int
    jaccard: float
    lift: float


@dataclass(frozen=True)
class Implication:
    """Label `of` implies label `also`: `share` of the `texts` texts with the first label have the second."""

    of: int
    also: int
    texts: int
    share: float


@dataclass(frozen=True, eq=False)
class CoOccurrence:
    """Co-occurrence of all labels.

    pairs: at most MOST_PAIRS of `pair_count`, the highest Jaccard index first. implications: by share, then by texts.
    never_alone: labels that are not the only label of any text. shown: labels for the matrix, similar ones next to each
    other. shares: share of the texts with the row's label that have the column's [shown, shown], 1 on the diagonal.
    """

    pairs: tuple[Pair, ...]
    pair_count: int
    implications: tuple[Implication, ...]
    never_alone: tuple[int, ...]
    shown: tuple[int, ...]
    shares: Floats


def co_occurrence(targets: csr_matrix) -> CoOccurrence:
    """Return the co-occurrence of the labels of targets [texts, labels], for pairs with ENOUGH texts or more."""
    support = csr_matrix(targets, dtype=np.int64)
    together = csr_matrix(support.T @ support)
    counts = together.diagonal()
    pairs, pair_count = _pairs(together, counts, texts=targets.shape[0])
    shown = _in_order(together, counts, _entangled(pairs))
    return CoOccurrence(
        pairs=pairs,
        pair_count=pair_count,
        implications=_implications(together, counts),
        never_alone=_never_alone(support, counts),
        shown=shown,
        shares=_among(together, shown) / counts[list(shown)][:, None] if shown else np.zeros((0, 0)),
    )


def _pairs(together: csr_matrix, counts: Counts, *, texts: int) -> tuple[tuple[Pair, ...], int]:
    """Return the pairs with the highest Jaccard index, and the number of all pairs."""
    both = triu(together, k=1).tocoo()
    jaccard = both.data / (counts[both.row] + counts[both.col] - both.data)
    lift = both.data * texts / (counts[both.row] * counts[both.col])
    worth = np.flatnonzero((both.data >= ENOUGH) & (lift > 1))
    order = worth[np.lexsort((both.col[worth], both.row[worth], -jaccard[worth]))]
    pairs = tuple(
        Pair(int(both.row[at]), int(both.col[at]), int(both.data[at]), float(jaccard[at]), float(lift[at]))
        for at in order[:MOST_PAIRS]
    )
    return pairs, len(order)


def _implications(together: csr_matrix, counts: Counts) -> tuple[Implication, ...]:
    both = together.tocoo()
    share = both.data / counts[both.row]
    implied = np.flatnonzero((both.row != both.col) & (share >= IMPLIES) & (counts[both.row] >= ENOUGH))
    order = implied[np.lexsort((both.col[implied], both.row[implied], -counts[both.row[implied]], -share[implied]))]
    return tuple(Implication(int(both.row[at]), int(both.col[at]), int(counts[both.row[at]]), float(share[at])) for at in order)


def _never_alone(support: csr_matrix, counts: Counts) -> tuple[int, ...]:
    single = np.asarray(support.sum(axis=1)).ravel() == 1
    alone = np.asarray(support[np.flatnonzero(single)].sum(axis=0)).ravel()
    return tuple(map(int, np.flatnonzero((alone == 0) & (counts >= ENOUGH))))


def _entangled(pairs: tuple[Pair, ...]) -> list[int]:
    """Return at most IN_THE_MAP labels, from the pairs with the highest Jaccard index."""
    chosen: dict[int, None] = {}
    for pair in pairs:
        new = [each for each in (pair.one, pair.other) if each not in chosen]
        if len(chosen) + len(new) <= IN_THE_MAP:
            chosen.update(dict.fromkeys(new))
    return list(chosen)


def _in_order(together: csr_matrix, counts: Counts, labels: list[int]) -> tuple[int, ...]:
    """Return the labels in the order of a cluster tree (average linkage, leaf order of Bar-Joseph and others, 2001)."""
    if len(labels) < 3:
        return tuple(labels)
    both, own = _among(together, tuple(labels)), counts[labels]
    distance = 1 - both / (own[:, None] + own[None, :] - both)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return tuple(labels[at] for at in leaves_list(tree))


def _among(together: csr_matrix, labels: tuple[int, ...]) -> Floats:
    chosen = list(labels)
    return together[chosen][:, chosen].toarray().astype(np.float64)
