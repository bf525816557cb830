from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score, confusion_matrix

from trainer.evaluation import error_analysis


def one_hot(labels: list[int], *, width: int) -> csr_matrix:
    return csr_matrix(np.eye(width, dtype=np.uint8)[labels])


def test_a_pair_is_confused_where_one_label_is_missed_and_the_other_wrongly_given() -> None:
    targets = csr_matrix(np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]], np.uint8))
    predicted = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 1, 1]], np.bool_)

    # Text 0: label 0 for 1; text 1: label 0 for 2, label 1 is right; text 2: missed only; text 3: wrongly given only.
    assert error_analysis.confused_pairs(error_analysis.compare(targets, predicted)) == [(0, 1, 1), (0, 2, 1)]


def test_with_one_label_a_text_the_pairs_are_the_confusion_matrix() -> None:
    random = np.random.default_rng(1)
    due, given = random.integers(4, size=500), random.integers(4, size=500)
    expected = confusion_matrix(due, given)

    decisions = error_analysis.compare(one_hot(due.tolist(), width=4), one_hot(given.tolist(), width=4))

    pairs = error_analysis.confused_pairs(decisions)

    assert all(expected[first, second] == texts for first, second, texts in pairs)
    assert [texts for *_, texts in pairs] == sorted(expected[~np.eye(4, dtype=bool)], reverse=True)


def test_counts_do_not_wrap_where_one_pair_has_more_texts_than_a_byte_holds() -> None:
    decisions = error_analysis.compare(one_hot([0] * 1000, width=2), one_hot([1] * 1000, width=2))
    assert error_analysis.confused_pairs(decisions) == [(0, 1, 1000)]


@pytest.mark.parametrize(
    ("probabilities", "right", "error"),
    [
        pytest.param([0.0, 1.0, 1.0], [False, True, True], 0.0, id="certain-and-right"),
        pytest.param([1.0, 1.0], [False, False], 1.0, id="certain-and-wrong"),
        pytest.param([0.25, 0.25, 0.25, 0.25], [True, False, False, False], 0.0, id="as-often-as-it-says"),
        pytest.param([0.75, 0.75, 0.25, 0.25], [True, True, False, False], 0.25, id="too-modest"),
    ],
)
def test_the_calibration_error_is_the_distance_between_probability_and_frequency(
    probabilities: list[float], right: list[bool], error: float
) -> None:
    *_, counts, found = error_analysis.reliability(np.array(probabilities, np.float32), np.array(right))
    assert found == pytest.approx(error)
    assert counts.sum() == len(right)


def test_the_mean_precision_at_what_is_due_is_the_average_precision() -> None:
    random = np.random.default_rng(2)
    probabilities, due = random.random(300).astype(np.float32), random.random(300) < 0.3

    recall, precision = error_analysis.precision_recall(probabilities, due)

    assert precision.mean() == pytest.approx(average_precision_score(due, probabilities))
    assert recall[-1] == 1.0
    assert np.all(np.diff(recall) > 0)


def test_decisions_of_one_probability_stand_or_fall_together() -> None:
    recall, precision = error_analysis.precision_recall(np.full(4, 0.5, np.float32), np.array([True, False, True, False]))
    assert recall.tolist() == [1.0, 1.0]
    assert precision.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("points", [pytest.param(1, id="one"), pytest.param(7, id="few"), pytest.param(30_000, id="many")])
def test_a_thinned_curve_keeps_its_ends_and_stays_small(points: int) -> None:
    recall, precision = error_analysis.thinned(np.linspace(0, 1, points), np.linspace(1, 0, points))
    assert len(recall) == len(precision) == min(points, error_analysis.POINTS)
    assert recall[0] == 0
    assert recall[-1] == np.linspace(0, 1, points)[-1]


def test_the_interval_of_accuracy_is_that_of_the_binomial_distribution() -> None:
    texts, wrong = 2000, 400
    decisions = error_analysis.compare(one_hot([0] * texts, width=2), one_hot([1] * wrong + [0] * (texts - wrong), width=2))

    _, _, accuracy = error_analysis.intervals(decisions, seed=0)

    assert accuracy == pytest.approx(1.96 * np.sqrt(0.2 * 0.8 / texts), rel=0.15)


def test_a_perfect_model_has_no_interval() -> None:
    truth = one_hot([0, 1, 1, 0], width=3)
    assert error_analysis.intervals(error_analysis.compare(truth, truth), seed=0) == (0.0, 0.0, 0.0)
