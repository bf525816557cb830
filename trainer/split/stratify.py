"""Units that carry labels dealt out to parts, stratified. Ignorant of texts and of what a part is for.

Iterative stratification: Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011,
with two rounds before it that put the rarest labels into every part. By the method alone, three units of a label would
all go to the largest part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from trainer.parallel.compiled import compiled

FREE = -1
SWEEPS = 200

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Held:
    """What the parts have before the dealing: examples with each label [parts, labels], and examples [parts]."""

    counts: Numbers
    sizes: Numbers


def deal(counts: csr_matrix, sizes: Numbers, shares: NDArray[np.float64], *, seed: int, held: Held | None = None) -> Numbers:
    """A part for each unit, so that each part has its share of the examples and of every label's examples.

    counts: examples of each unit with each label [units, labels]; sizes: examples of each unit; shares: sum to 1, and
    count what is `held`, too.
    A label that as many units carry as there are parts is in every part, unless the labels bind one another so that no
    such dealing is found. Same seed, same result.
    """
    random = np.random.default_rng(seed)
    # Smallest first, so that a part which gets one unit of a label does not get a heap of equal texts.
    order = random.permutation(len(sizes))
    order = order[np.argsort(sizes[order], kind="stable")]
    dealing = _Dealing(csr_matrix(counts[order]), held or _nothing(len(shares), counts.shape[1]))
    dealing.give_each_part_one(np.argsort(shares, kind="stable"))
    dealing.close_gaps(random)
    dealing.fill(sizes[order], shares)
    parts = np.empty_like(dealing.part)
    parts[order] = dealing.part
    return parts


def _nothing(parts: int, labels: int) -> Held:
    return Held(np.zeros((parts, labels), np.int64), np.zeros(parts, np.int64))


class _Dealing:
    """Who has what so far.

    part: of each unit, or FREE [units]. present: units of each part with each label [parts, labels], until `fill`; what
    was held before counts as one. possible: whether a label could be in every part [labels].
    """

    def __init__(self, counts: csr_matrix, held: Held) -> None:
        self.counts, self.held = counts, held
        self.marks = csr_matrix((np.ones(counts.nnz, np.int64), counts.indices, counts.indptr), shape=counts.shape)
        by_label = csc_matrix(self.marks)
        by_label.sort_indices()
        self.starts, self.carriers = by_label.indptr.astype(np.int64), by_label.indices.astype(np.int64)
        self.part = np.full(counts.shape[0], FREE, np.int64)
        self.present = (held.counts > 0).astype(np.int64)
        self.possible = np.diff(self.starts) + self.present.sum(axis=0) >= len(held.sizes)

    def with_label(self, label: int) -> Numbers:
        """The units that carry the label, the smallest first."""
        return self.carriers[self.starts[label] : self.starts[label + 1]]

    def move(self, unit: int, part: int) -> None:
        """The unit into the part, from wherever it is."""
        labels = self.counts.indices[self.counts.indptr[unit] : self.counts.indptr[unit + 1]]
        if self.part[unit] != FREE:
            self.present[self.part[unit], labels] -= 1
        self.present[part, labels] += 1
        self.part[unit] = part

    def give_each_part_one(self, parts: Numbers) -> None:
        """Label by label, the rarest first: to each part that has none yet, a unit that is still free."""
        for label in np.argsort(np.diff(self.starts), kind="stable"):
            if self.possible[label]:
                units = self.with_label(label)
                free = iter(units[self.part[units] == FREE][: len(parts)])
                for part in parts[self.present[parts, label] == 0]:
                    unit = next(free, None)
                    if unit is not None:
                        self.move(unit, part)

    def close_gaps(self, random: np.random.Generator) -> None:
        """Move units to where a label is missing that could be there, until none is or for `SWEEPS` rounds: the best of them.

        Min-conflicts search: of the label's units the one whose move opens the fewest gaps, by chance among equals.
        """
        best, fewest = self.part.copy(), self.present.size + 1
        for _ in range(SWEEPS):
            gaps = np.argwhere((self.present == 0) & self.possible)
            if len(gaps) < fewest:
                best, fewest = self.part.copy(), len(gaps)
            if not len(gaps):
                break
            for part, label in gaps:
                if self.present[part, label] == 0:
                    self.move(self._cheapest(label, part, random), part)
        self.part = best

    def _cheapest(self, label: int, part: int, random: np.random.Generator) -> int:
        """The unit with this label whose move to this part opens the fewest gaps, less those that it closes."""
        units = self.with_label(label)
        closes = (self.present[part] == 0) & self.possible
        opens = np.vstack([(self.present == 1) & self.possible, np.zeros_like(closes)])  # the last line is that of FREE
        marks = self.marks[units]
        cost = (marks @ opens.T.astype(np.int64))[np.arange(len(units)), self.part[units]] - marks @ closes.astype(np.int64)
        return int(random.choice(units[cost == cost.min()]))

    def fill(self, sizes: Numbers, shares: NDArray[np.float64]) -> None:
        """Deal out what is free: the label with the fewest free units next, each to the part that lacks most of that label.

        The largest units first, while there is room for them.
        """
        members = np.stack([self.part == part for part in range(len(shares))]).astype(np.int64)
        has, size = self.held.counts + members @ self.counts, self.held.sizes + members @ sizes
        wanted = np.outer(shares, np.asarray(self.counts.sum(axis=0)).ravel() + self.held.counts.sum(axis=0)) - has
        room = shares * (sizes.sum() + self.held.sizes.sum()) - size
        free = np.asarray((self.part == FREE).astype(np.int64) @ self.marks)
        arrays = (self.counts.indptr, self.counts.indices, self.counts.data)
        starts, labels, counts = (array.astype(np.int64) for array in arrays)
        while free.any():
            label = int(np.argmin(np.where(free > 0, free, len(sizes) + 1)))
            _fill_label(
                label, self.with_label(label)[::-1].copy(), starts, labels, counts, sizes, self.part, (wanted, room, free)
            )
        for unit in np.flatnonzero(self.part == FREE)[::-1]:  # those without a label
            self.part[unit] = np.argmax(room)
            room[self.part[unit]] -= sizes[unit]


@compiled
def _fill_label(
    label: int,
    units: Numbers,
    starts: Numbers,
    labels: Numbers,
    counts: Numbers,
    sizes: Numbers,
    parts: Numbers,
    left: tuple[NDArray[np.float64], NDArray[np.float64], Numbers],
) -> None:
    """Each free one of the units to the part that lacks most of the label, or of anything if they lack the same.

    left: examples of each label that each part lacks [parts, labels], examples that it lacks [parts], and free units of
    each label [labels]; kept up to date.
    """
    wanted, room, free = left
    for unit in units:
        if parts[unit] != FREE:
            continue
        best = 0
        for part in range(1, len(room)):
            more = wanted[part, label] - wanted[best, label]
            if more > 0 or (more == 0 and room[part] > room[best]):
                best = part
        parts[unit] = best
        room[best] -= sizes[unit]
        for at in range(starts[unit], starts[unit + 1]):
            wanted[best, labels[at]] -= counts[at]
            free[labels[at]] -= 1
