from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from model.manifest import Task
from trainer.evaluation.scoring import f1_score
from trainer.evaluation.thresholds import PRIOR_EXAMPLES, choose_thresholds


def f1_at(threshold: float, probabilities: np.ndarray, truth: np.ndarray) -> float:
    given_labels = probabilities >= threshold
    return float(f1_score((given_labels & truth).sum(), given_labels.sum(), truth.sum()))


def test_a_single_label_task_needs_no_thresholds() -> None:
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7]], np.float32)
    thresholds = choose_thresholds(probabilities, csr_matrix(np.eye(2, dtype=np.uint8)), Task.SINGLE_LABEL)
    assert thresholds.tolist() == [0, 0]


def test_a_label_of_many_examples_gets_the_threshold_of_its_own_best_f1() -> None:
    random = np.random.default_rng(0)
    truth = random.random((20_000, 2)) < [0.3, 0.3]
    # The second label's probabilities are far too low: a common threshold would never give it.
    probabilities = np.clip(np.where(truth, 0.7, 0.4) + random.normal(0, 0.1, truth.shape), 0.01, 0.99) * [1, 0.1]
    thresholds = choose_thresholds(probabilities.astype(np.float32), csr_matrix(truth.astype(np.uint8)), Task.MULTI_LABEL)
    assert f1_at(thresholds[1], probabilities[:, 1], truth[:, 1]) > 0.8
    assert thresholds[1] < 0.1
    assert thresholds[0] > 0.4


def test_a_rare_label_stays_near_the_common_threshold() -> None:
    random = np.random.default_rng(1)
    common = random.random(5_000) < 0.4
    rare = np.zeros(5_000, bool)
    rare[0] = True
    probabilities = np.column_stack([np.where(common, 0.8, 0.2), np.full(5_000, 0.001)]).astype(np.float32)
    probabilities[0, 1] = 0.01
    targets = csr_matrix(np.column_stack([common, rare]).astype(np.uint8))
    frequent_threshold, rare_threshold = choose_thresholds(probabilities, targets, Task.MULTI_LABEL)
    assert PRIOR_EXAMPLES > 1
    assert rare_threshold > 0.1  # its own optimum is about 0.005
    assert 0.2 < frequent_threshold < 0.8


@given(
    arrays(np.float32, (30, 3), elements=st.floats(0, 1, width=32)),
    arrays(np.uint8, (30, 3), elements=st.integers(0, 1)),
)
def test_thresholds_are_probabilities_whatever_the_scores(probabilities: np.ndarray, targets: np.ndarray) -> None:
    thresholds = choose_thresholds(probabilities, csr_matrix(targets), Task.MULTI_LABEL)
    assert thresholds.shape == (3,)
    assert ((thresholds >= 0) & (thresholds <= 1)).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0], ids=["all-0", "all-a-half", "all-1"])
def test_equal_probabilities_are_never_divided(value: float) -> None:
    probabilities = np.full((10, 1), value, np.float32)
    targets = csr_matrix(np.array([[1]] * 5 + [[0]] * 5, np.uint8))
    (threshold,) = choose_thresholds(probabilities, targets, Task.MULTI_LABEL)
    assert 0 <= threshold <= 1
