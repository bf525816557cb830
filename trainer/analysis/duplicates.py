"""Texts that stand in the data more than once, and those of them whose labels contradict each other. Ignorant of texts.

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
    """How often texts repeat: rows in groups of two and more, those groups, and the rows beyond each group's first."""

    rows: int
    groups: int
    beyond_first: int
    largest: int


@dataclass(frozen=True)
class Group:
    """A group of two and more: how many rows, and the positions of some of them, in order."""

    size: int
    members: tuple[int, ...]


@dataclass(frozen=True)
class Conflict:
    """A group whose members do not all carry the same labels.

    equal: whether their words are the same, not only alike. agreement: the labels that all carry, of those that any
    does, from 0 to 1. members: for each different set of labels the first row that has it, MEMBERS_SHOWN at most.
    """

    size: int
    equal: bool
    agreement: float
    members: tuple[int, ...]


def repetition(groups: Groups) -> Repetition:
    """How often the texts of these groups repeat."""
    sizes = np.bincount(groups)
    several = sizes[sizes > 1]
    rows = int(several.sum())
    return Repetition(rows, len(several), rows - len(several), int(several.max(initial=0)))


def largest_groups(groups: Groups, most: int) -> tuple[Group, ...]:
    """The `most` largest groups of two and more; of equally large ones that which appears first."""
    sizes = np.bincount(groups)
    chosen = [int(at) for at in np.argsort(-sizes, kind="stable")[:most] if sizes[at] > 1]
    members = _members(groups)
    return tuple(Group(int(sizes[at]), tuple(map(int, members.of(at)[:MEMBERS_SHOWN]))) for at in chosen)


def conflicts(targets: csr_matrix, near: Groups, equal: Groups) -> tuple[Conflict, ...]:
    """Every near-duplicate group whose members' labels differ: equal words first, then those that agree least.

    near, equal: the groups of nearly equal and of equal texts [examples]; targets [examples, labels].
    """
    members = _members(near)
    found = [_conflict(targets, members.of(at), equal, agreement) for at, agreement in _disagreeing(targets, near)]
    return tuple(sorted(found, key=lambda each: (not each.equal, each.agreement, -each.size, each.members)))


def label_sums(targets: csr_matrix, groups: Groups) -> csr_matrix:
    """How many members of each group carry each label, int32 [groups, labels]."""
    count, rows = int(groups.max(initial=-1)) + 1, len(groups)
    members = csr_matrix((np.ones(rows, np.int32), (groups, np.arange(rows))), shape=(count, rows))
    sums = csr_matrix(members @ targets.astype(np.int32))
    sums.sort_indices()
    return sums


@dataclass(frozen=True, eq=False)
class _Members:
    """The positions of the groups' members, group after group, and where each group begins."""

    order: Positions
    starts: Positions

    def of(self, group: int) -> Positions:
        return self.order[self.starts[group] : self.starts[group + 1]]


def _members(groups: Groups) -> _Members:
    return _Members(np.argsort(groups, kind="stable"), np.concatenate(([0], np.cumsum(np.bincount(groups)))))


def _disagreeing(targets: csr_matrix, groups: Groups) -> Iterator[tuple[int, float]]:
    """Each group in which a label is carried by some and not by all, with the share of labels that all carry."""
    sizes, sums = np.bincount(groups), label_sums(targets, groups)
    by_any = np.diff(sums.indptr)
    marked = csr_matrix((sums.data == np.repeat(sizes, by_any), sums.indices, sums.indptr), shape=sums.shape)
    by_all = np.asarray(marked.sum(axis=1)).ravel()
    for at in np.flatnonzero(by_all < by_any):
        yield int(at), float(by_all[at] / by_any[at])


def _conflict(targets: csr_matrix, members: Positions, equal: Groups, agreement: float) -> Conflict:
    """What is shown of a group; an equal text with other labels goes before one that is only alike."""
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
