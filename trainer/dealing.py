"""Units that carry labels dealt out to parts, stratified: compiled, and ignorant of texts and of what a part is for.

Iterative stratification: Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011,
with two rounds before it that put the rarest labels into every part. By the method alone, three units of a label would
all go to the largest part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from trainer.architectures.compiled import compiled

FREE = -1
SWEEPS = 200

Numbers = NDArray[np.int64]


class Units(NamedTuple):
    """Which labels each unit carries, both ways round.

    The labels of unit u are `labels[starts[u]:starts[u + 1]]`, and beside them in `counts` how many examples of the unit
    carry each. The units with label l are `carriers[label_starts[l]:label_starts[l + 1]]`. sizes: examples of each unit.
    """

    starts: Numbers
    labels: Numbers
    counts: Numbers
    label_starts: Numbers
    carriers: Numbers
    sizes: Numbers


class _Dealt(NamedTuple):
    """The part of each unit, or FREE; and how many units with each label each part has [parts, labels]."""

    part: Numbers
    present: Numbers


class _Wanted(NamedTuple):
    """What is still missing: examples of each label in each part, examples in each part; and free units of each label."""

    examples: NDArray[np.float64]
    room: NDArray[np.float64]
    free: Numbers


def deal(counts: csr_matrix, sizes: Numbers, shares: NDArray[np.float64], *, seed: int) -> Numbers:
    """A part for each unit, so that each part has its share of the examples and of every label's examples.

    counts: examples of each unit with each label [units, labels]; sizes: examples of each unit; shares: sum to 1.
    A label that as many units carry as there are parts is in every part, unless the labels bind one another so that no
    such dealing is found. Same seed, same result.
    """
    random = np.random.default_rng(seed)
    # Smallest first, so that a part which gets one unit of a label does not get a heap of equal texts.
    order = random.permutation(len(sizes))
    order = order[np.argsort(sizes[order], kind="stable")]
    units = _lay_out(csr_matrix(counts[order]), sizes[order])
    dealt = _Dealt(np.full(len(sizes), FREE, np.int64), np.zeros((len(shares), counts.shape[1]), np.int64))
    _give_each_part_one(units, dealt, np.argsort(shares, kind="stable"))
    _close_gaps(units, dealt, int(random.integers(2**31)))
    _fill(units, dealt, shares)
    parts = np.empty_like(dealt.part)
    parts[order] = dealt.part
    return parts


def _lay_out(counts: csr_matrix, sizes: Numbers) -> Units:
    by_label = csc_matrix(counts)
    by_label.sort_indices()
    arrays = (counts.indptr, counts.indices, counts.data, by_label.indptr, by_label.indices, sizes)
    return Units(*(array.astype(np.int64) for array in arrays))


@compiled
def _give_each_part_one(units: Units, dealt: _Dealt, parts: Numbers) -> None:
    """Label by label, the rarest first: to each part that has none yet, a unit that is still free."""
    for label in np.argsort(units.label_starts[1:] - units.label_starts[:-1], kind="mergesort"):
        place, end = units.label_starts[label], units.label_starts[label + 1]
        if end - place < len(parts):
            continue
        for part in parts:
            while dealt.present[part, label] == 0 and place < end:
                if dealt.part[units.carriers[place]] == FREE:
                    _move(units, dealt, units.carriers[place], part)
                place += 1


@compiled
def _move(units: Units, dealt: _Dealt, unit: int, part: int) -> None:
    for label in units.labels[units.starts[unit] : units.starts[unit + 1]]:
        if dealt.part[unit] != FREE:
            dealt.present[dealt.part[unit], label] -= 1
        dealt.present[part, label] += 1
    dealt.part[unit] = part


@compiled
def _close_gaps(units: Units, dealt: _Dealt, seed: int) -> None:
    """Move units to where a label is missing that could be there, until none is or after `SWEEPS` rounds: the best so far.

    Min-conflicts search: of the label's units the one whose move opens the fewest gaps, by chance among equals.
    """
    np.random.seed(seed)
    best, fewest = dealt.part.copy(), dealt.present.size + 1
    for _ in range(SWEEPS):
        gaps = 0
        for label in range(dealt.present.shape[1]):
            for part in range(dealt.present.shape[0]):
                gaps += _is_gap(units, dealt, label, part)
        if gaps < fewest:
            best, fewest = dealt.part.copy(), gaps
        if gaps == 0:
            break
        for label in range(dealt.present.shape[1]):
            for part in range(dealt.present.shape[0]):
                if _is_gap(units, dealt, label, part):
                    _move(units, dealt, _cheapest_move(units, dealt, label, part), part)
    dealt.part[:] = best


@compiled
def _is_gap(units: Units, dealt: _Dealt, label: int, part: int) -> bool:
    return bool(dealt.present[part, label] == 0 and _could_be_everywhere(units, dealt, label))


@compiled
def _could_be_everywhere(units: Units, dealt: _Dealt, label: int) -> bool:
    return bool(units.label_starts[label + 1] - units.label_starts[label] >= dealt.present.shape[0])


@compiled
def _cheapest_move(units: Units, dealt: _Dealt, label: int, part: int) -> int:
    """The unit with this label whose move to this part opens the fewest gaps, less those that it closes."""
    lowest, equal, best = 1 << 30, 0, 0
    for unit in units.carriers[units.label_starts[label] : units.label_starts[label + 1]]:
        cost = 0
        for other in units.labels[units.starts[unit] : units.starts[unit + 1]]:
            if _could_be_everywhere(units, dealt, other):
                cost -= dealt.present[part, other] == 0
                cost += dealt.part[unit] != FREE and dealt.present[dealt.part[unit], other] == 1
        if cost < lowest:
            lowest, equal = cost, 0
        if cost == lowest:
            equal += 1
            if np.random.randint(equal) == 0:
                best = unit
    return best


@compiled
def _fill(units: Units, dealt: _Dealt, shares: NDArray[np.float64]) -> None:
    """Deal out what is free: the label with the fewest free units next, each to the part that lacks most of that label."""
    wanted = _Wanted(np.zeros(dealt.present.shape), shares * units.sizes.sum(), units.label_starts[1:] - units.label_starts[:-1])
    for unit in range(len(units.sizes)):
        for at in range(units.starts[unit], units.starts[unit + 1]):
            wanted.examples[:, units.labels[at]] += shares * units.counts[at]
    for unit in range(len(units.sizes)):
        if dealt.part[unit] != FREE:
            _take(units, wanted, unit, dealt.part[unit])
    while wanted.free.sum() > 0:
        label = np.argmin(np.where(wanted.free > 0, wanted.free, len(units.sizes) + 1))
        for unit in units.carriers[units.label_starts[label] : units.label_starts[label + 1]]:
            if dealt.part[unit] == FREE:
                dealt.part[unit] = _neediest(wanted.examples[:, label], wanted.room)
                _take(units, wanted, unit, dealt.part[unit])
    for unit in range(len(units.sizes)):
        if dealt.part[unit] == FREE:
            dealt.part[unit] = np.argmax(wanted.room)
            _take(units, wanted, unit, dealt.part[unit])


@compiled
def _neediest(wanted: NDArray[np.float64], room: NDArray[np.float64]) -> int:
    best = 0
    for part in range(1, len(wanted)):
        if wanted[part] > wanted[best] or (wanted[part] == wanted[best] and room[part] > room[best]):
            best = part
    return best


@compiled
def _take(units: Units, wanted: _Wanted, unit: int, part: int) -> None:
    """What remains to be wanted once the part has the unit."""
    wanted.room[part] -= units.sizes[unit]
    for at in range(units.starts[unit], units.starts[unit + 1]):
        wanted.examples[part, units.labels[at]] -= units.counts[at]
        wanted.free[units.labels[at]] -= 1
