"""Groups of duplicates, and those whose members have different labels. Does not know the texts.

Groups come from trainer.split.near_duplicates: a number for each example, from 0 without gaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Groups = NDArray[np.int64]
Positions = NDArray[np.int64]

MEMBERS_SHOWN = 5


@dataclass(frozen=True)
class Repetition:
    """Number of repeated texts. rows, groups: of groups of two or more. beyond_first: rows other than each group's first."""

    rows: int
    groups: int
    beyond_first: int
    largest: int


@dataclass(frozen=True)
class Group:
    """Group of two or more rows: its size, and the positions of at most MEMBERS_SHOWN of them, in order."""

    size: int
    members: tuple[int, ...]


@dataclass(frozen=True)
class Conflict:
    """Group whose members do not all have the same labels.

    equal: whether members with the same words have different labels. agreement: share of labels that all members have,
    among those that any has. members: the first row of each different label set, at most MEMBERS_SHOWN.
    """

    size: int
    equal: bool
    agreement: float
    members: tuple[int, ...]


def repetition(groups: Groups) -> Repetition:
    """Return how often the texts of these groups repeat."""
    sizes = np.bincount(groups)
    several = sizes[sizes > 1]
    rows = int(several.sum())
    return Repetition(rows, len(several), rows - len(several), int(several.max(initial=0)))


def largest_groups(groups: Groups, most: int) -> tuple[Group, ...]:
    """Return the `most` largest groups of two or more; of equally large ones, the first."""
    sizes = np.bincount(groups)
    chosen = [int(at) for at in np.argsort(-sizes, kind="stable")[:most] if sizes[at] > 1]
    members = _members(groups)
    return tuple(Group(int(sizes[at]), tuple(map(int, members.of(at)[:MEMBERS_SHOWN]))) for at in chosen)


def conflicts(targets: csr_matrix, near: Groups, equal: Groups) -> tuple[Conflict, ...]:
    """Return all near-duplicate groups whose members' labels differ: those with equal words first, then by agreement.

    near, equal: groups of nearly equal and of equal texts [examples]; targets [examples, labels].
    """
    members = _members(near)
    groups = [_conflict(targets, members.of(at), equal, agreement) for at, agreement in _disagreeing(targets, near)]
    return tuple(sorted(groups, key=lambda each: (not each.equal, each.agreement, -each.size, each.members)))


def label_sums(targets: csr_matrix, groups: Groups) -> csr_matrix:
    """Return the number of members of each group that have each label, int32 [groups, labels]."""
    count, rows = int(groups.max(initial=-1)) + 1, len(groups)
    members = csr_matrix((np.ones(rows, np.int32), (groups, np.arange(rows))), shape=(count, rows))
    sums = csr_matrix(members @ targets.astype(np.int32))
    sums.sort_indices()
    return sums


@dataclass(frozen=True, eq=False)
class _Members:
    """Positions of the members, sorted by group, and the start of each group."""

    order: Positions
    starts: Positions

    def of(self, group: int) -> Positions:
        return self.order[self.starts[group] : self.starts[group + 1]]


def _members(groups: Groups) -> _Members:
    return _Members(np.argsort(groups, kind="stable"), np.concatenate(([0], np.cumsum(np.bincount(groups)))))


def _disagreeing(targets: csr_matrix, groups: Groups) -> Iterator[tuple[int, float]]:
    """Yield each group in which only some members have a label, and the share of its labels that all have."""
    sizes, sums = np.bincount(groups), label_sums(targets, groups)
    by_any = np.diff(sums.indptr)
    marked = csr_matrix((sums.data == np.repeat(sizes, by_any), sums.indices, sums.indptr), shape=sums.shape)
    by_all = np.asarray(marked.sum(axis=1)).ravel()
    for at in np.flatnonzero(by_all < by_any):
        yield int(at), float(by_all[at] / by_any[at])


def _conflict(targets: csr_matrix, members: Positions, equal: Groups, agreement: float) -> Conflict:
    """Return the conflict of a group. If members with equal words have different labels, only those are shown."""
    same_words: dict[int, list[int]] = {}
    for position in members.tolist():
        same_words.setdefault(int(equal[position]), []).append(position)
    contradicted = [those for those in same_words.values() if len(_first_of_each_set(targets, those)) > 1]
    of_interest = max(contradicted, key=len) if contradicted else members.tolist()
    shown = _first_of_each_set(targets, of_interest)[:MEMBERS_SHOWN]
    return Conflict(len(members), bool(contradicted), agreement, tuple(shown))


def _first_of_each_set(targets: csr_matrix, positions: list[int]) -> list[int]:
    first: dict[bytes, int] = {}
    for at in positions:
        labels = np.sort(targets.indices[targets.indptr[at] : targets.indptr[at + 1]])
        first.setdefault(labels.tobytes(), at)
    return list(first.values())
