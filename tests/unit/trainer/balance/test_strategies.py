"""What each strategy promises about the labels' counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from model.manifest import Task
from trainer.balance.imbalance import label_counts, label_ratios, mean_ratio, measure
from trainer.balance.oversampling import ml_ros
from trainer.balance.strategies import balance, describe
from trainer.balance.undersampling import TOLERANCE, any_label, joint, least_counts, median_count
from trainer.config.settings import BalanceConfig
from trainer.data.examples import Examples

BY_LABELS_ALONE = ("none", "undersample", "undersample-any", "oversample")


def skewed(seed: int, *, rows: int, labels: int, several: bool = True) -> csr_matrix:
    """At least one label a row, the later ones rarer, as in Zipf's law."""
    random = np.random.default_rng(seed)
    shares = 1 / np.arange(1, labels + 1)
    first = random.choice(labels, size=rows, p=shares / shares.sum())
    targets = random.random((rows, labels)) < (0.3 * shares if several else 0)
    targets[np.arange(rows), first] = True
    return csr_matrix(targets.astype(np.uint8))


def examples_with(targets: csr_matrix) -> Examples:
    labels = tuple(f"label {index}" for index in range(targets.shape[1]))
    several = bool((targets.getnnz(axis=1) > 1).any())
    task = Task.MULTI_LABEL if several else Task.SINGLE_LABEL
    return Examples(Path("unread.parquet"), 10 * np.arange(targets.shape[0]), labels, targets, task)


skews = st.builds(skewed, st.integers(0, 2**31), rows=st.integers(1, 400), labels=st.integers(1, 12), several=st.booleans())


@settings(max_examples=60)
@given(targets=skews, sampling=st.sampled_from(BY_LABELS_ALONE), seed=st.integers(0, 2**31))
def test_the_balanced_part_is_of_the_part_in_order_with_every_label(targets: csr_matrix, sampling: str, seed: int) -> None:
    examples = examples_with(targets)
    config = BalanceConfig.model_validate({"sampling": sampling})

    balanced = balance(examples, config, seed=seed).examples

    assert set(balanced.rows) <= set(examples.rows)
    assert (np.diff(balanced.rows) >= 0).all()
    assert (balanced.targets != targets[balanced.rows // 10]).nnz == 0
    assert ((balanced.label_counts() > 0) == (examples.label_counts() > 0)).all()
    assert (balanced.labels, balanced.task) == (examples.labels, examples.task)


@settings(max_examples=60)
@given(targets=skews, seed=st.integers(0, 2**31), threshold=st.integers(1, 200))
def test_no_text_of_a_label_at_or_below_the_threshold_goes(targets: csr_matrix, seed: int, threshold: int) -> None:
    counts = label_counts(targets)

    kept = joint(targets, threshold=threshold, seed=seed)

    rare = counts <= threshold
    assert kept[targets[:, np.flatnonzero(rare)].getnnz(axis=1) > 0].all()
    assert (label_counts(csr_matrix(targets[kept])) >= least_counts(counts, threshold)).all()


@settings(max_examples=60)
@given(targets=skews, seed=st.integers(0, 2**31), threshold=st.integers(1, 200))
def test_the_simple_rule_too_keeps_every_text_of_a_rare_label(targets: csr_matrix, seed: int, threshold: int) -> None:
    rare = np.flatnonzero(label_counts(targets) <= threshold)

    kept = any_label(targets, threshold=threshold, seed=seed)

    assert kept[targets[:, rare].getnnz(axis=1) > 0].all()


@settings(max_examples=30)
@given(targets=skews, sampling=st.sampled_from(BY_LABELS_ALONE), seed=st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_rows(targets: csr_matrix, sampling: str, seed: int) -> None:
    examples, config = examples_with(targets), BalanceConfig.model_validate({"sampling": sampling})

    first, second = (balance(examples, config, seed=seed).examples for _ in range(2))

    assert first.rows.tolist() == second.rows.tolist()


def test_another_seed_gives_other_rows() -> None:
    targets = skewed(0, rows=2_000, labels=10)

    assert (joint(targets, threshold=50, seed=1) != joint(targets, threshold=50, seed=2)).any()


def of_single_labels(counts: tuple[int, ...]) -> csr_matrix:
    return csr_matrix(np.repeat(np.eye(len(counts), dtype=np.uint8), counts, axis=0))


def test_labels_of_their_own_come_to_the_threshold_exactly() -> None:
    kept = joint(of_single_labels((5_000, 900, 300, 40)), threshold=300, seed=0)

    # Of labels that nothing ties together none is pulled below.
    assert label_counts(csr_matrix(of_single_labels((5_000, 900, 300, 40))[kept])).tolist() == [300, 300, 300, 40]


def test_counts_come_nearer_to_the_median_than_by_the_simple_rule() -> None:
    targets = skewed(0, rows=20_000, labels=60)
    threshold, before = median_count(targets), measure(targets)

    by_joint = measure(csr_matrix(targets[joint(targets, threshold=threshold, seed=0)]))
    by_any = measure(csr_matrix(targets[any_label(targets, threshold=threshold, seed=0)]))

    assert by_joint.mean_ratio < by_any.mean_ratio < before.mean_ratio
    assert by_joint.largest < 0.75 * by_any.largest


def test_frequent_labels_that_nothing_rare_holds_come_near_the_threshold() -> None:
    random = np.random.default_rng(0)
    common = random.random((30_000, 6)) < np.array([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    targets = csr_matrix(common[common.any(axis=1)].astype(np.uint8))

    counts = label_counts(csr_matrix(targets[joint(targets, threshold=1_000, seed=0)]))

    assert (counts >= TOLERANCE * 1_000).all()
    assert (counts <= 1_050).all()


def test_a_label_set_loses_its_share_and_not_by_luck() -> None:
    """Ten thousand texts of one set: drawn one by one, the number kept would vary by thirty."""
    targets = of_single_labels((10_000, 500))

    kept = [int(joint(targets, threshold=500, seed=seed).sum()) for seed in range(5)]

    assert all(abs(each - 1_000) <= 1 for each in kept)


def test_rows_without_labels_stay() -> None:
    targets = csr_matrix(np.vstack([np.zeros((5, 2), np.uint8), of_single_labels((50, 3)).toarray()]))

    for rule in (joint, any_label):
        assert rule(targets, threshold=3, seed=0)[:5].all()


def test_a_threshold_above_all_labels_leaves_everything() -> None:
    targets = skewed(3, rows=500, labels=5)

    for rule in (joint, any_label):
        assert rule(targets, threshold=10_000, seed=0).all()


@settings(max_examples=60)
@given(targets=skews, seed=st.integers(0, 2**31), share=st.floats(0.01, 4))
def test_oversampling_drops_nothing_and_adds_no_more_than_its_share(targets: csr_matrix, seed: int, share: float) -> None:
    times = ml_ros(targets, share=share, seed=seed)

    assert (times >= 1).all()
    assert times.sum() - len(times) <= share * len(times)


@settings(max_examples=60)
@given(targets=skews, seed=st.integers(0, 2**31), share=st.floats(0.01, 4))
def test_oversampling_repeats_texts_of_rare_labels_only(targets: csr_matrix, seed: int, share: float) -> None:
    counts = label_counts(targets)
    rare = (counts > 0) & (label_ratios(counts) > mean_ratio(counts))

    times = ml_ros(targets, share=share, seed=seed)

    assert (targets[times > 1].toarray()[:, rare].sum(axis=1) > 0).all()


def test_oversampling_ends_when_every_rare_label_is_as_frequent_as_the_mean() -> None:
    targets = of_single_labels((1_000, 800, 100, 10))
    mean = mean_ratio(label_counts(targets))

    times = ml_ros(targets, share=4, seed=0)

    after = label_counts(csr_matrix(targets[np.repeat(np.arange(len(times)), times)]))
    assert after.tolist() == [1_000, 800, 100, int(np.ceil(1_000 / mean))]


def test_no_strategy_is_reported_as_none_and_changes_nothing() -> None:
    examples = examples_with(skewed(0, rows=50, labels=4))

    balanced = balance(examples, BalanceConfig(), seed=0)

    assert balanced.examples is examples
    assert (balanced.notes, balanced.description) == ((), "none")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"sampling": "undersample"}, "undersample to 7", id="the median"),
        pytest.param({"sampling": "undersample-any"}, "undersample-any to 7", id="the simple rule"),
        pytest.param({"sampling": "oversample", "oversample_share": 0.5}, "oversample by 0.5 at most", id="oversample"),
        pytest.param({"sampling": "mltl", "loss": "weighted"}, "mltl, weighted loss", id="with a loss"),
        pytest.param({"loss": "focal"}, "focal loss of gamma 2", id="a loss alone"),
    ],
)
def test_the_manifest_tells_what_was_asked_for(settings: dict[str, object], expected: str) -> None:
    assert describe(BalanceConfig.model_validate(settings), threshold=7) == expected


def test_the_notes_tell_the_imbalance_before_and_after() -> None:
    examples = examples_with(of_single_labels((90, 10, 10)))

    balanced = balance(examples, BalanceConfig(sampling="undersample"), seed=0)

    change = "30 texts of 110; largest label 90, now 10; IRLbl at most 9.00, now 1.00; MeanIR 6.33, now 1.00"
    assert balanced.notes == (f"balance, undersample to 10: {change}",)
    assert balanced.description == "undersample to 10"


def test_examples_that_stand_twice_can_be_balanced_again() -> None:
    examples = examples_with(of_single_labels((40, 4)))
    doubled = replace(examples.select(np.repeat(np.arange(44), 2)))

    balanced = balance(doubled, BalanceConfig(sampling="undersample"), seed=0).examples

    assert balanced.label_counts().tolist() == [44, 8]
