"""Every label in every part, groups whole, shares kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from model.manifest import Task
from tests.support.targets import examples_with, random_targets
from trainer.config.settings import SplitConfig
from trainer.data.examples import Examples
from trainer.errors import DatasetRejected
from trainer.split.provenance import EarlierUse
from trainer.split.split import Parts, split


def parts_of(parts: Parts) -> list[Examples]:
    return [part for part in (parts.train, parts.validation, parts.test) if part is not None]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(30, 120),
    labels=st.integers(1, 8),
    spread=st.floats(0.2, 1),
    with_test=st.booleans(),
)
def test_parts_are_disjoint_complete_and_keep_groups_whole(
    seed: int, rows: int, labels: int, spread: float, with_test: bool
) -> None:
    random = np.random.default_rng(seed)
    examples = examples_with(random_targets(random, rows, labels))
    _, groups = np.unique(random.integers(max(1, int(rows * spread)), size=rows), return_inverse=True)

    parts = split(examples, groups, SplitConfig(), seed=seed, with_test=with_test)

    found = parts_of(parts)
    assert len(found) == 2 + with_test
    assert sorted(row for part in found for row in part.rows) == examples.rows.tolist()
    assert all((np.diff(part.rows) > 0).all() for part in found)
    homes = [set(groups[part.rows // 10]) for part in found]
    assert sum(map(len, homes)) == len(set(groups))
    missing = {label for part in found for label, count in zip(examples.labels, part.label_counts(), strict=True) if not count}
    carried = {label for label, count in zip(examples.labels, examples.label_counts(), strict=True) if count}
    assert all(any(label in note for note in parts.notes) for label in missing & carried)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), labels=st.integers(2, 30), rare=st.integers(3, 6))
def test_every_label_with_three_examples_is_in_every_part(seed: int, labels: int, rare: int) -> None:
    random = np.random.default_rng(seed)
    common = random_targets(random, 60, labels)
    few = np.zeros((labels * rare, labels), np.int64)
    few[np.arange(labels * rare), np.arange(labels * rare) % labels] = 1
    few[np.arange(labels * rare), random.integers(labels, size=labels * rare)] = 1
    examples = examples_with(np.vstack([few, common]))

    parts = split(examples, np.arange(len(examples)), SplitConfig(), seed=seed, with_test=True)

    assert all((part.label_counts() > 0).all() for part in parts_of(parts))
    assert parts.notes == ()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), without=st.integers(3, 200))
def test_every_part_has_its_share_of_the_texts_without_a_label(seed: int, without: int) -> None:
    targets = random_targets(np.random.default_rng(seed), 100, 3)
    examples = replace(examples_with(np.vstack([targets, np.zeros((without, 3), np.int64)])), label_required=False)

    parts = split(examples, np.arange(len(examples)), SplitConfig(), seed=seed, with_test=True)

    found = [int(part.without_label().sum()) for part in parts_of(parts)]
    assert sum(found) == without
    assert all(abs(count - share * without) <= 2 for count, share in zip(found, (0.8, 0.1, 0.1), strict=True))
    assert min(found) >= 1
    assert all(not part.label_required for part in parts_of(parts))


def test_texts_without_a_label_that_cannot_be_in_every_part_are_named() -> None:
    targets = np.vstack([random_targets(np.random.default_rng(0), 100, 2), np.zeros((5, 2), np.int64)])
    groups = np.concatenate([np.arange(100), np.full(5, 100)])

    parts = split(replace(examples_with(targets), label_required=False), groups, SplitConfig(), seed=0, with_test=True)

    assert [note for note in parts.notes if "(texts without a label)" in note]


@pytest.mark.parametrize(
    ("with_test", "sentence"),
    [
        pytest.param(
            True,
            r"^nothing is left for the .*test part: .* 80 texts in 2 groups of near-duplicates.* give a test set",
            id="own-test-part",
        ),
        pytest.param(
            False,
            "^nothing is left for the validation part: too few different texts, 80 texts in 1 group of",
            id="given-test-set",
        ),
    ],
)
def test_a_part_without_texts_is_refused(with_test: bool, sentence: str) -> None:
    targets = np.repeat(np.eye(2, dtype=np.int64), 40, axis=0)
    groups = np.repeat(np.arange(2), 40) if with_test else np.zeros(80, np.int64)

    with pytest.raises(DatasetRejected, match=sentence) as refused:
        split(examples_with(targets), groups, SplitConfig(), seed=0, with_test=with_test)

    assert "set split.near_duplicates to 1" in str(refused.value)


def test_labels_that_bind_one_another_are_untied() -> None:
    """Each label has three examples, each example two labels: the first choices have to be taken back."""
    edges = [(0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)]
    targets = np.zeros((6, 4), np.int64)
    for row, pair in enumerate(edges):
        targets[row, list(pair)] = 1
    examples = examples_with(targets)

    for seed in range(50):
        parts = split(examples, np.arange(6), SplitConfig(), seed=seed, with_test=True)
        assert all((part.label_counts() > 0).all() for part in parts_of(parts))


def test_a_label_of_one_group_is_named() -> None:
    targets = np.zeros((40, 2), np.int64)
    targets[:5, 0] = 1
    targets[5:, 1] = 1
    groups = np.maximum(np.arange(40) - 4, 0)

    parts = split(examples_with(targets), groups, SplitConfig(), seed=0, with_test=True)

    assert len(parts.notes) == 1
    assert "label 0" in parts.notes[0]
    assert "label 1" not in parts.notes[0]


@pytest.mark.parametrize("with_test", [True, False])
@pytest.mark.parametrize("single", [True, False], ids=["single-label", "multi-label"])
def test_shares_are_kept_for_every_label(with_test: bool, single: bool) -> None:
    random = np.random.default_rng(0)
    targets = np.eye(12, dtype=np.int64)[random.integers(12, size=5_000)] if single else random_targets(random, 5_000, 12)
    examples = examples_with(targets)
    config = SplitConfig(validation_share=0.15, test_share=0.2)

    parts = split(examples, np.arange(5_000), config, seed=1, with_test=with_test)

    shares = [0.65, 0.15, 0.2] if with_test else [0.85, 0.15]
    for part, share in zip(parts_of(parts), shares, strict=True):
        assert len(part) == pytest.approx(share * 5_000, abs=50)
        assert part.label_counts() == pytest.approx(
            share * examples.label_counts(), rel=0.06, abs=2
        )  # a label that half of the texts carry comes last


def test_the_seed_alone_decides() -> None:
    examples = examples_with(random_targets(np.random.default_rng(0), 300, 10))

    def validation(seed: int) -> list[int]:
        rows: list[int] = split(examples, np.arange(300), SplitConfig(), seed=seed, with_test=True).validation.rows.tolist()
        return rows

    assert validation(3) == validation(3)
    assert validation(3) != validation(4)


def test_a_heap_of_equal_texts_does_not_fill_a_small_part() -> None:
    targets = np.ones((1_000, 1), np.int64)
    groups = np.maximum(np.arange(1_000) - 400, 0)

    parts = split(examples_with(targets), groups, SplitConfig(), seed=0, with_test=True)

    assert [len(part) for part in parts_of(parts)] == pytest.approx([800, 100, 100], abs=2)


def test_two_hundred_thousand_examples_are_no_burden() -> None:
    random = np.random.default_rng(0)
    rows, labels = 200_000, 150
    matrix = csr_matrix(
        (np.ones(2 * rows, np.uint8), (np.tile(np.arange(rows), 2), random.integers(labels, size=2 * rows))), shape=(rows, labels)
    )
    matrix.data[:] = 1
    examples = Examples(Path("unread"), np.arange(rows), tuple(map(str, range(labels))), matrix, Task.MULTI_LABEL)

    parts = split(examples, np.arange(rows), SplitConfig(), seed=0, with_test=True)

    assert len(parts.train) == pytest.approx(0.8 * rows, rel=0.001)


def test_a_label_of_two_texts_is_not_blamed_on_near_duplicates() -> None:
    targets = np.zeros((40, 3), np.int64)
    targets[:, 0] = 1
    targets[:2, 1] = 1
    targets[2:7, 2] = 1
    groups = np.concatenate([np.arange(2), np.full(5, 2), np.arange(3, 36)])

    parts = split(examples_with(targets), groups, SplitConfig(), seed=0, with_test=True)

    assert parts.notes == (
        "1 label is not in every part, since fewer than 3 texts carry it: label 1",
        "1 label is not in every part, since too many of their texts are near-duplicates: label 2",
    )


def test_the_same_data_and_seed_are_divided_again_as_they_were_for_the_served_version() -> None:
    examples = examples_with(random_targets(np.random.default_rng(0), 300, 4))
    groups = np.arange(len(examples))
    first = split(examples, groups, SplitConfig(), seed=3, with_test=True)
    assert first.test is not None
    earlier_use = np.full(len(examples), EarlierUse.TRAINED, np.int8)
    earlier_use[np.isin(examples.rows, first.test.rows)] = EarlierUse.TESTED

    again = split(examples, groups, SplitConfig(), seed=3, with_test=True, earlier_use=earlier_use)

    for before, after in zip(parts_of(first), parts_of(again), strict=True):
        assert before.rows.tolist() == after.rows.tolist()
