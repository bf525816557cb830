"""Assign units that carry labels to parts, so that every part has its share of each label. Knows nothing of texts.

Iterative stratification: Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011.
Two rounds before it put the rarest labels into every part: by the method alone, three units of a label would all go to the
largest part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from trainer.parallel.compiled import compiled
from trainer.split.provenance import EarlierUse

FREE = -1  # the part of a unit that is not assigned yet
MAX_SWEEPS = 200
TEST = 2  # the last of three parts
# Share of the new examples that may become test examples, so that a model learns from most of what is new.
MAX_NEW_TO_TEST = 0.5

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PartTotals:
    """Examples of each part with each label [parts, labels], and examples of each part [parts]."""

    counts: Numbers
    sizes: Numbers


def stratify(
    counts: csr_matrix, sizes: Numbers, shares: NDArray[np.float64], *, seed: int, held: PartTotals | None = None
) -> Numbers:
    """Return a part for each unit [units]: each part has its share of the examples and of every label's examples.

    counts: examples of each unit with each label [units, labels]. sizes: examples of each unit [units]. shares: of the parts,
    sum 1 [parts]. held: what the parts have already; the shares include it.
    A label carried by at least as many units as there are parts is in every part, unless the search for such an assignment
    fails because labels occur together. Same seed, same result.
    """
    random = np.random.default_rng(seed)
    # Smallest first, so that a part which gets one unit of a label does not get a heap of equal texts.
    order = random.permutation(len(sizes))
    order = order[np.argsort(sizes[order], kind="stable")]
    assignment = _Assignment(csr_matrix(counts[order]), held or _empty_totals(len(shares), counts.shape[1]))
    assignment.give_each_part_one(np.argsort(shares, kind="stable"))
    assignment.close_gaps(random)
    assignment.fill(sizes[order], shares)
    parts = np.empty_like(assignment.part)
    parts[order] = assignment.part
    return parts


def stratify_around(
    counts: csr_matrix, sizes: Numbers, shares: NDArray[np.float64], earlier_use: NDArray[np.int8], *, seed: int
) -> Numbers:
    """Return a part for each unit [units] as `stratify` does, but no TRAINED unit goes to test, and every TESTED one does.

    Both versions can then be compared on a test part that neither was trained on. New units are assigned so that whole parts
    have their shares, of the examples and of every label's. Without new units, the test part does not depend on the seed.
    """
    parts = np.full(len(sizes), TEST, np.int64)
    trained, new = np.flatnonzero(earlier_use == EarlierUse.TRAINED), np.flatnonzero(earlier_use == EarlierUse.NEW)
    if len(trained):
        parts[trained] = stratify(counts[trained], sizes[trained], shares[:TEST] / shares[:TEST].sum(), seed=seed)
    if len(new):
        held = totals(counts, sizes, parts, earlier_use != EarlierUse.NEW, len(shares))
        most = max(1, MAX_NEW_TO_TEST * sizes[new].sum())
        parts[new] = stratify(counts[new], sizes[new], shares, seed=seed, held=held)
        if sizes[new][parts[new] == TEST].sum() > most:
            parts[new] = stratify(counts[new], sizes[new], _less_for_test(shares, held, sizes[new].sum()), seed=seed, held=held)
    return parts


def totals(counts: csr_matrix, sizes: Numbers, parts: Numbers, known: NDArray[np.bool_], count: int) -> PartTotals:
    """Return what each part has of the known units."""
    members = [known & (parts == part) for part in range(count)]
    of_labels = [np.asarray(counts[each].sum(axis=0), np.int64).ravel() for each in members]
    return PartTotals(np.stack(of_labels), np.array([sizes[each].sum() for each in members], np.int64))


def _less_for_test(shares: NDArray[np.float64], held: PartTotals, new: int) -> NDArray[np.float64]:
    """Return the shares with that of test lowered to what `MAX_NEW_TO_TEST` of the new examples allows."""
    test = min(shares[TEST], (held.sizes[TEST] + MAX_NEW_TO_TEST * new) / (held.sizes.sum() + new))
    return np.array([*shares[:TEST] * (1 - test) / shares[:TEST].sum(), test])


def _empty_totals(parts: int, labels: int) -> PartTotals:
    return PartTotals(np.zeros((parts, labels), np.int64), np.zeros(parts, np.int64))


class _Assignment:
    """The parts of the units so far.

    part: of each unit, or FREE [units]. present: units of each part with each label [parts, labels], kept until `fill`;
    examples that the part held before count as one unit. possible: whether a label could be in every part [labels].
    """

    def __init__(self, counts: csr_matrix, held: PartTotals) -> None:
        self.counts, self.held = counts, held
        self.marks = csr_matrix((np.ones(counts.nnz, np.int64), counts.indices, counts.indptr), shape=counts.shape)
        by_label = csc_matrix(self.marks)
        by_label.sort_indices()
        self.starts, self.carriers = by_label.indptr.astype(np.int64), by_label.indices.astype(np.int64)
        self.part = np.full(counts.shape[0], FREE, np.int64)
        self.present = (held.counts > 0).astype(np.int64)
        self.possible = np.diff(self.starts) + self.present.sum(axis=0) >= len(held.sizes)

    def with_label(self, label: int) -> Numbers:
        """Return the units that carry the label, the smallest first."""
        return self.carriers[self.starts[label] : self.starts[label + 1]]

    def move(self, unit: int, part: int) -> None:
        """Move the unit into the part, from wherever it is."""
        labels = self.counts.indices[self.counts.indptr[unit] : self.counts.indptr[unit + 1]]
        if self.part[unit] != FREE:
            self.present[self.part[unit], labels] -= 1
        self.present[part, labels] += 1
        self.part[unit] = part

    def give_each_part_one(self, parts: Numbers) -> None:
        """Assign a free unit to each part that lacks a label, label by label, the rarest first."""
        for label in np.argsort(np.diff(self.starts), kind="stable"):
            if self.possible[label]:
                units = self.with_label(label)
                free = iter(units[self.part[units] == FREE][: len(parts)])
                for part in parts[self.present[parts, label] == 0]:
                    unit = next(free, None)
                    if unit is not None:
                        self.move(unit, part)

    def close_gaps(self, random: np.random.Generator) -> None:
        """Move units to parts that lack a label which could be there; keep the best assignment of `MAX_SWEEPS` rounds.

        Min-conflicts search: move the label's unit whose move opens the fewest gaps, a random one among equals.
        """
        best, fewest = self.part.copy(), self.present.size + 1
        for _ in range(MAX_SWEEPS):
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
        """Return the unit with this label whose move to this part opens the fewest gaps, less those that it closes."""
        units = self.with_label(label)
        closes = (self.present[part] == 0) & self.possible
        opens = np.vstack([(self.present == 1) & self.possible, np.zeros_like(closes)])  # the last line is that of FREE
        marks = self.marks[units]
        cost = (marks @ opens.T.astype(np.int64))[np.arange(len(units)), self.part[units]] - marks @ closes.astype(np.int64)
        return int(random.choice(units[cost == cost.min()]))

    def fill(self, sizes: Numbers, shares: NDArray[np.float64]) -> None:
        """Assign the free units: the label with the fewest free ones next, each to the part that lacks most of that label.

        The largest units come first, while there is room for them.
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
    """Assign each free unit to the part that lacks most of the label; of parts that lack the same, to the one with most room.

    left: examples of each label that each part lacks [parts, labels], examples that it lacks [parts], and free units of
    each label [labels]; updated here.
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
