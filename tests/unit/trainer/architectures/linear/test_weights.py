"""Weights of the labels' own examples in the dual coordinate descent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from trainer.architectures.linear.svm import fit


def problem(seed: int) -> tuple[csr_matrix, csr_matrix]:
    """Forty examples of five features, and two labels of which the second is rare."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(40, 5)).astype(np.float32)
    scores = features @ random.normal(size=(5, 2)) + random.normal(size=(40, 2))
    targets = scores > np.array([np.quantile(scores[:, 0], 0.5), np.quantile(scores[:, 1], 0.85)])
    return csr_matrix(features), csr_matrix(targets.astype(np.uint8))


def test_weights_of_one_change_nothing() -> None:
    features, targets = problem(0)

    plain = fit(features, targets, C=0.5, max_iter=5, seed=0)
    weighted = fit(features, targets, C=0.5, max_iter=5, seed=0, positive_weights=np.ones(2, np.float32))

    assert (plain.weights == weighted.weights).all()
    assert (plain.bias == weighted.bias).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_model_minimises_the_weighted_loss(seed: int) -> None:
    features, targets = problem(seed)
    weights = np.array([0.5, 4.0], np.float32)
    found = fit(features, targets, C=0.5, max_iter=400, seed=0, positive_weights=weights)

    dense = np.hstack([features.toarray(), np.ones((40, 1))]).astype(np.float64)
    for label in range(2):
        sign = 2.0 * targets.toarray()[:, label] - 1
        cost = 0.5 * np.where(sign > 0, weights[label], 1)

        def objective(w: np.ndarray, sign: np.ndarray = sign, cost: np.ndarray = cost) -> float:
            return float(w @ w / 2 + (cost * np.maximum(0, 1 - sign * (dense @ w)) ** 2).sum())

        expected = minimize(objective, np.zeros(6), tol=1e-12).x
        assert np.append(found.weights[:, label], found.bias[label]) == pytest.approx(expected, abs=2e-3)


def test_a_label_that_weighs_more_is_given_to_more_examples() -> None:
    features, targets = problem(1)

    given = [
        (
            fit(features, targets, C=0.05, max_iter=50, seed=0, positive_weights=np.array([1, weight], np.float32)).margins(
                features
            )
            > 0
        )
        for weight in (1, 10)
    ]

    assert given[1][:, 1].sum() > given[0][:, 1].sum()
    assert (given[1][:, 0] == given[0][:, 0]).all()
