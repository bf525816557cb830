from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix
from sklearn import metrics

from trainer.evaluation.scoring import micro_f1, score

LABELS = ("a", "b", "c")


@given(
    arrays(np.float32, (12, 3), elements=st.floats(0, 1, width=32)),
    arrays(np.bool_, (12, 3)),
    arrays(np.bool_, (12, 3)).filter(lambda truth: truth.any(axis=0).all()),
)
def test_scores_are_those_of_scikit_learn(probabilities: np.ndarray, assigned: np.ndarray, truth: np.ndarray) -> None:
    scores = score(probabilities, assigned, csr_matrix(truth.astype(np.uint8)), LABELS)
    for average, found in {
        "micro": scores.micro_f1,
        "macro": scores.macro_f1,
        "weighted": scores.weighted_f1,
        "samples": scores.samples_f1,
    }.items():
        assert found == pytest.approx(metrics.f1_score(truth, assigned, average=average, zero_division=0))
    assert scores.subset_accuracy == pytest.approx(metrics.accuracy_score(truth, assigned))
    assert scores.average_precision == pytest.approx(metrics.average_precision_score(truth, probabilities, average="macro"))
    per_label = metrics.precision_recall_fscore_support(truth, assigned, zero_division=0)
    found = [(each.precision, each.recall, each.f1, each.support) for each in scores.per_label.values()]
    assert np.asarray(found) == pytest.approx(np.column_stack(per_label))


@given(
    arrays(np.bool_, (12, 3)),
    arrays(np.bool_, (12, 3)).filter(lambda truth: truth.any(axis=0).all()),
    st.lists(st.integers(0, 11)),
)
def test_without_a_required_label_nothing_given_for_nothing_is_right_as_in_scikit_learn(
    assigned: np.ndarray, truth: np.ndarray, without: list[int]
) -> None:
    assigned[without] = False
    truth[without[::2]] = False
    targets, probabilities = csr_matrix(truth.astype(np.uint8)), assigned.astype(np.float32)

    scores = score(probabilities, assigned, targets, LABELS, label_required=False)

    assert scores.samples_f1 == pytest.approx(metrics.f1_score(truth, assigned, average="samples", zero_division=1.0))
    assert scores.subset_accuracy == pytest.approx(metrics.accuracy_score(truth, assigned))
    assert scores.without_label == pytest.approx((~truth.any(axis=1)).mean())
    assert scores.predicted_without_label == pytest.approx((~assigned.any(axis=1)).mean())
    required = score(probabilities, assigned, targets, LABELS)
    same = {"samples_f1", "without_label", "predicted_without_label"}
    assert scores.model_dump(exclude=same) == required.model_dump(exclude=same)


@pytest.mark.parametrize("texts", range(2, 40))
def test_ranks_without_a_fault_have_an_average_precision_of_one_whatever_the_rounding(texts: int) -> None:
    probabilities = np.column_stack([np.linspace(1, 0, 2 * texts), np.linspace(0, 1, 2 * texts)]).astype(np.float32)
    truth = probabilities > 0.5
    assert score(probabilities, truth, csr_matrix(truth.astype(np.uint8)), LABELS[:2]).average_precision == pytest.approx(1)


def test_a_label_that_no_text_carries_does_not_lower_the_means() -> None:
    truth = np.array([[1, 0, 0], [0, 1, 0]], np.uint8)
    assigned = truth.astype(bool)
    scores = score(truth.astype(np.float32), assigned, csr_matrix(truth), LABELS)
    assert scores.macro_f1 == 1
    assert scores.per_label["c"].support == 0


def test_no_texts_score_nothing() -> None:
    nothing = np.zeros((0, 3))
    scores = score(nothing.astype(np.float32), nothing.astype(bool), csr_matrix(nothing.astype(np.uint8)), LABELS)
    assert (scores.texts, scores.micro_f1, scores.macro_f1, scores.subset_accuracy) == (0, 0, 0, 0)


def test_micro_f1_counts_all_decisions_together() -> None:
    truth = np.array([[True, False], [True, True]])
    assert micro_f1(np.array([[True, True], [False, True]]), truth) == pytest.approx(2 / 3)
