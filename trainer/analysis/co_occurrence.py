"""Which labels come together: counts, and whether by chance. Arrays to values; knows no texts.

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

ENOUGH = 5  # texts with both labels, below which a pair may be chance
IMPLIES = 0.95
IN_THE_MAP = 25
MOST_PAIRS = 1_000


@dataclass(frozen=True)
class Pair:
    """Two labels, by their numbers, that come together more than chance would have them.

    together: texts with both. jaccard: of those with either, the share with both. lift: how many times as often as if
    neither knew of the other.
    """

    one: int
    other: int
    together: int
    jaccard: float
    lift: float


@dataclass(frozen=True)
class Implication:
    """Nearly every text of label `of` has label `also`: `texts` of the former, and the share that has the latter."""

    of: int
    also: int
    texts: int
    share: float


@dataclass(frozen=True, eq=False)
class CoOccurrence:
    """Which labels come together.

    pairs: the most alike first, MOST_PAIRS at most, of `pair_count`. implications: by share, then by texts. never_alone:
    labels without a text of their own. shown: the most entangled labels, those that are alike side by side. shares: of the
    texts with the row's label, the share with the column's [shown, shown], 1 on the diagonal.
    """

    pairs: tuple[Pair, ...]
    pair_count: int
    implications: tuple[Implication, ...]
    never_alone: tuple[int, ...]
    shown: tuple[int, ...]
    shares: Floats


def co_occurrence(targets: csr_matrix) -> CoOccurrence:
    """How the labels of targets [texts, labels] come together, from ENOUGH texts on."""
    carried = csr_matrix(targets, dtype=np.int64)
    together = csr_matrix(carried.T @ carried)
    counts = together.diagonal()
    pairs, pair_count = _pairs(together, counts, texts=targets.shape[0])
    shown = _in_order(together, counts, _entangled(pairs))
    return CoOccurrence(
        pairs=pairs,
        pair_count=pair_count,
        implications=_implications(together, counts),
        never_alone=_never_alone(carried, counts),
        shown=shown,
        shares=_among(together, shown) / counts[list(shown)][:, None] if shown else np.zeros((0, 0)),
    )


def _pairs(together: csr_matrix, counts: Counts, *, texts: int) -> tuple[tuple[Pair, ...], int]:
    """The most alike, and how many there are."""
    both = triu(together, k=1).tocoo()
    jaccard = both.data / (counts[both.row] + counts[both.col] - both.data)
    lift = both.data * texts / (counts[both.row] * counts[both.col])
    worth = np.flatnonzero((both.data >= ENOUGH) & (lift > 1))
    order = worth[np.lexsort((both.col[worth], both.row[worth], -jaccard[worth]))]
    found = tuple(
        Pair(int(both.row[at]), int(both.col[at]), int(both.data[at]), float(jaccard[at]), float(lift[at]))
        for at in order[:MOST_PAIRS]
    )
    return found, len(order)


def _implications(together: csr_matrix, counts: Counts) -> tuple[Implication, ...]:
    both = together.tocoo()
    share = both.data / counts[both.row]
    found = np.flatnonzero((both.row != both.col) & (share >= IMPLIES) & (counts[both.row] >= ENOUGH))
    order = found[np.lexsort((both.col[found], both.row[found], -counts[both.row[found]], -share[found]))]
    return tuple(Implication(int(both.row[at]), int(both.col[at]), int(counts[both.row[at]]), float(share[at])) for at in order)


def _never_alone(carried: csr_matrix, counts: Counts) -> tuple[int, ...]:
    single = np.asarray(carried.sum(axis=1)).ravel() == 1
    alone = np.asarray(carried[np.flatnonzero(single)].sum(axis=0)).ravel()
    return tuple(map(int, np.flatnonzero((alone == 0) & (counts >= ENOUGH))))


def _entangled(pairs: tuple[Pair, ...]) -> list[int]:
    """The labels of the pairs that are most alike, until there are enough."""
    found: dict[int, None] = {}
    for pair in pairs:
        new = [each for each in (pair.one, pair.other) if each not in found]
        if len(found) + len(new) <= IN_THE_MAP:
            found.update(dict.fromkeys(new))
    return list(found)


def _in_order(together: csr_matrix, counts: Counts, labels: list[int]) -> tuple[int, ...]:
    """The labels in the order of a tree of the most alike (average linkage, leaves as Bar-Joseph and others, 2001)."""
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
