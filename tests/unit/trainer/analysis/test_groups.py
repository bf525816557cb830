"""Duplicates, conflicts and co-occurrence: counted as one would by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from trainer.analysis.co_occurrence import ENOUGH, IN_THE_MAP, co_occurrence
from trainer.analysis.duplicates import conflicts, label_sums, largest_groups, repetition


def targets_of(*rows: set[int], labels: int = 4) -> csr_matrix:
    dense = np.zeros((len(rows), labels), np.uint8)
    for at, row in enumerate(rows):
        dense[at, sorted(row)] = 1
    return csr_matrix(dense)


@st.composite
def grouped(draw: st.DrawFn) -> tuple[list[int], list[set[int]]]:
    """A group and a set of labels for each of some rows; groups are numbered without gaps."""
    drawn = draw(st.lists(st.integers(0, 5), min_size=1, max_size=25))
    numbers = np.unique(drawn, return_inverse=True)[1].ravel().tolist()
    return numbers, draw(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=len(drawn), max_size=len(drawn)))


@given(grouped())
def test_repeated_rows_are_those_of_groups_of_two_and_more(case: tuple[list[int], list[set[int]]]) -> None:
    groups, _ = case
    several = [each for each in set(groups) if groups.count(each) > 1]

    found = repetition(np.array(groups))

    assert found.groups == len(several)
    assert found.rows == sum(groups.count(each) for each in several)
    assert found.beyond_first == len(groups) - len(set(groups))


@given(grouped())
def test_label_sums_count_the_members_that_carry_each_label(case: tuple[list[int], list[set[int]]]) -> None:
    groups, rows = case

    sums = label_sums(targets_of(*rows), np.array(groups)).toarray()

    for group, label in np.ndindex(sums.shape):
        assert sums[group, label] == sum(label in row for at, row in zip(groups, rows, strict=True) if at == group)


@given(grouped())
def test_a_group_is_in_conflict_exactly_if_two_members_differ_in_their_labels(
    case: tuple[list[int], list[set[int]]],
) -> None:
    groups, rows = case
    members = {group: [at for at, each in enumerate(groups) if each == group] for group in groups}
    differ = {group for group, those in members.items() if any(rows[one] != rows[two] for one, two in combinations(those, 2))}

    found = conflicts(targets_of(*rows), np.array(groups), np.array(groups))

    assert {groups[each.members[0]] for each in found} == differ
    for each in found:
        shown = [frozenset(rows[at]) for at in each.members]
        assert len(set(shown)) == len(shown) > 1
        assert each.size == len(members[groups[each.members[0]]])
        own = [rows[at] for at in members[groups[each.members[0]]]]
        assert each.agreement == pytest.approx(len(set.intersection(*own)) / len(set.union(*own)))


def test_conflicts_of_equal_words_come_first_and_show_the_equal_rows() -> None:
    near = np.array([0, 0, 1, 1, 1])
    equal = np.array([0, 1, 2, 3, 3])
    rows = ({0}, {1}, {0}, {0, 1}, {0, 2})

    first, second = conflicts(targets_of(*rows), near, equal)

    assert (first.equal, first.size, first.members) == (True, 3, (3, 4))
    assert (second.equal, second.size, second.members, second.agreement) == (False, 2, (0, 1), 0.0)


def test_the_largest_groups_come_first_and_single_texts_not_at_all() -> None:
    found = largest_groups(np.array([0, 1, 1, 2, 3, 3, 3]), 5)

    assert [(each.size, each.members) for each in found] == [(3, (4, 5, 6)), (2, (1, 2))]


def test_a_pair_has_its_jaccard_index_and_its_lift() -> None:
    found = co_occurrence(targets_of(*[{0, 1}] * 10, *[{0}] * 10, *[{2}] * 20))

    [pair] = found.pairs
    assert (pair.one, pair.other, pair.together) == (0, 1, 10)
    assert pair.jaccard == pytest.approx(0.5)
    assert pair.lift == pytest.approx((10 / 40) / ((20 / 40) * (10 / 40)))


def test_pairs_that_come_together_as_often_as_chance_has_it_or_too_rarely_to_tell_are_left_out() -> None:
    by_chance = [{0, 1}, {0, 2}, {3, 1}, {3, 2}] * 25
    rare = [{0}] * 50 + [{1, 2}] * (ENOUGH - 1)

    assert co_occurrence(targets_of(*by_chance)).pairs == ()
    assert co_occurrence(targets_of(*rare)).pairs == ()


def test_a_label_that_implies_another_never_occurs_alone() -> None:
    found = co_occurrence(targets_of(*[{0, 1}] * 20, *[{1}] * 20, *[{2}] * 5))

    [implication] = found.implications
    assert (implication.of, implication.also, implication.texts, implication.share) == (0, 1, 20, 1.0)
    assert found.never_alone == (0,)


def test_the_map_holds_the_most_entangled_labels_with_alike_ones_side_by_side() -> None:
    random = np.random.default_rng(0)
    families = [{2 * family, 2 * family + 1} for family in range(20)]
    rows = [families[at] if random.random() < 0.8 else {min(families[at])} for at in random.integers(0, 20, 2000)]

    found = co_occurrence(targets_of(*rows, labels=40))

    assert len(found.shown) == IN_THE_MAP - 1
    assert found.shares.shape == (len(found.shown), len(found.shown))
    assert np.allclose(found.shares.diagonal(), 1)
    places = {label: at for at, label in enumerate(found.shown)}
    assert all(abs(places[one] - places[one + 1]) == 1 for one in places if one % 2 == 0)


def test_labels_that_stand_alone_have_nothing_to_show() -> None:
    found = co_occurrence(targets_of(*[{at} for at in (0, 1, 2, 3)] * 10))

    assert (found.pairs, found.implications, found.never_alone, found.shown) == ((), (), (), ())
