"""Measures of imbalance, against their definitions worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from trainer.balance.imbalance import Imbalance, concurrence, label_ratios, mean_ratio, measure, rarity


def matrix(*rows: tuple[int, ...]) -> csr_matrix:
    return csr_matrix(np.array(rows, np.uint8))


def test_a_labels_ratio_is_how_many_times_the_largest_is_as_frequent() -> None:
    assert label_ratios(np.array([8, 4, 1, 0])).tolist() == [1, 2, 8, np.inf]


def test_the_mean_ratio_leaves_out_labels_that_nothing_carries() -> None:
    assert mean_ratio(np.array([8, 4, 1, 0])) == pytest.approx((1 + 2 + 8) / 3)
    assert mean_ratio(np.array([0, 0])) == 0


def test_the_imbalance_of_a_dataset_is_reported_in_texts_and_ratios() -> None:
    found = measure(matrix((1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0)))

    assert found == Imbalance(4, largest=4, median=2, smallest=1, worst_ratio=4, mean_ratio=pytest.approx((1 + 2 + 4) / 3))


def test_texts_without_labels_have_no_imbalance() -> None:
    assert measure(matrix((0, 0), (0, 0))) == Imbalance(2, 0, 0, 0, 0, 0, without_label=2)


def test_labels_that_never_meet_do_not_concur() -> None:
    assert concurrence(matrix((1, 0), (1, 0), (0, 1))) == pytest.approx(0)


def test_concurrence_is_one_minus_the_geometric_over_the_arithmetic_mean_of_the_ratios() -> None:
    # Ratios 1 and 4: the one text with both has sqrt(4) over 2.5, the three others 1.
    assert concurrence(matrix((1, 0), (1, 0), (1, 0), (1, 1))) == pytest.approx((1 - 2 / 2.5) / 4)


def test_a_label_a_hundred_times_rarer_weighs_ten_times_as_much() -> None:
    weights = rarity(csr_matrix(np.repeat(np.eye(2, dtype=np.uint8), [100, 1], axis=0)))

    assert weights[1] / weights[0] == pytest.approx(10)
