from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array
from sklearn.svm import LinearSVC

from model.manifest import Task
from trainer.architectures.linear import svm
from trainer.architectures.linear.calibration import calibrate


def problem(labels: int, *, texts: int = 300, features: int = 80) -> tuple[csr_matrix, csr_matrix]:
    random = np.random.default_rng(0)
    rows = csr_matrix(random_array((texts, features), density=0.2, rng=random, dtype=np.float32))
    truth = rows @ random.normal(size=(features, labels)) + random.normal(size=(texts, labels)) / 2 > 0.5
    return rows, csr_matrix(truth.astype(np.uint8))


@pytest.mark.parametrize("labels", [2, 7, svm.BLOCK + 3])
@pytest.mark.parametrize("penalty", [0.1, 2.0])
def test_each_label_gets_the_model_that_liblinear_finds(labels: int, penalty: float) -> None:
    rows, targets = problem(labels)

    found = svm.fit(rows, targets, C=penalty, max_iter=300, seed=0)

    for label in {0, labels // 2, labels - 1}:
        peer = LinearSVC(C=penalty, tol=1e-8, max_iter=100_000).fit(rows, targets[:, [label]].toarray().ravel())
        np.testing.assert_allclose(found.weights[:, label], peer.coef_[0], atol=2e-3)
        np.testing.assert_allclose(found.bias[label], peer.intercept_[0], atol=2e-3)


def test_a_label_learns_the_same_whatever_its_company() -> None:
    rows, targets = problem(svm.BLOCK + 3)

    together = svm.fit(rows, targets, C=0.5, max_iter=5, seed=0)
    apart = svm.fit(rows, targets[:, [svm.BLOCK + 1]].tocsr(), C=0.5, max_iter=5, seed=0)

    np.testing.assert_allclose(together.weights[:, [svm.BLOCK + 1]], apart.weights, atol=1e-6)


def test_examples_without_features_leave_only_a_bias() -> None:
    found = svm.fit(
        csr_matrix(np.zeros((8, 3), np.float32)), csr_matrix(np.array([[1, 0]] * 8, np.uint8)), C=1.0, max_iter=50, seed=0
    )

    assert not found.weights.any()
    assert found.bias[0] > 0.5
    assert found.bias[1] < -0.5


def test_calibrated_log_odds_mean_what_they_say() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(-1, 2, (20_000, 3))
    targets = csr_matrix((random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8))

    found = calibrate(((logits - 0.7) / 4).astype(np.float32), targets, Task.MULTI_LABEL)

    np.testing.assert_allclose(found.slope, 4, rtol=0.05)
    np.testing.assert_allclose(found.offset, 0.7, atol=0.1)


def test_one_sharpness_for_all_labels_of_a_single_label_text() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (5_000, 4))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    chosen = (chances.cumsum(axis=1) < random.random((5_000, 1))).sum(axis=1)

    found = calibrate((logits / 6).astype(np.float32), csr_matrix(np.eye(4, dtype=np.uint8)[chosen]), Task.SINGLE_LABEL)

    np.testing.assert_allclose(found.slope, 6, rtol=0.05)
    np.testing.assert_array_equal(found.offset, 0)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("targets", [[[0, 0]], [[1, 0]], [[1, 0], [0, 1]], []], ids=["none", "one", "separable", "no texts"])
def test_hardly_any_validation_gives_a_calibration_all_the_same(task: Task, targets: list[list[int]]) -> None:
    truth = csr_matrix(np.array(targets, np.uint8).reshape(-1, 2))

    found = calibrate(truth.toarray().astype(np.float32) * 1000 - 500, truth, task)

    assert np.isfinite(found.slope).all()
    assert (found.slope > 0).all()
    assert np.isfinite(found.offset).all()
