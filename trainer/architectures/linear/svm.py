"""One-vs-rest linear support vector machines for many labels, by dual coordinate descent.

For each label, this minimises the L2-regularised squared hinge loss, as LIBLINEAR does (L2-loss SVC). Method: Hsieh, Chang,
Lin, Keerthi and Sundararajan, "A dual coordinate descent method for large-scale linear SVM", ICML 2008, algorithm 1. Unlike
in LIBLINEAR, an example is visited once for all labels, so that its features are read once, and the innermost loop runs over
labels, whose weights are adjacent in memory. This module works on matrices; it does not depend on texts.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.cores import usable_cores
from trainer.parallel.compiled import compiled
from trainer.run.progress import progress

# Labels per block. Blocks are fitted on separate threads. A feature's weights in a block are 320 adjacent bytes. A label's
# weights do not depend on its block.
BLOCK = 80


@dataclass(frozen=True, eq=False)
class Linear:
    """Linear models: margins = features @ weights + bias. Shapes [features, labels] and [labels], float32."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def margins(self, features: csr_matrix) -> NDArray[np.float32]:
        """Return the decision values [examples, labels]; ±1 on the margins."""
        margins: NDArray[np.float32] = np.asarray(features @ self.weights + self.bias, np.float32)
        return margins


def fit(
    features: csr_matrix,
    targets: csr_matrix,
    *,
    C: float,  # noqa: N803 - the name in scikit-learn and LIBLINEAR
    max_iter: int,
    seed: int,
    positive_weights: NDArray[np.float32] | None = None,
) -> Linear:
    """Fit one model per label in `max_iter` passes over the examples, each in a random order that depends on `seed`.

    For each label, minimises |w|^2 / 2 + C * sum(max(0, 1 - y * (w x))^2), where x has a constant 1 for the bias.
    positive_weights: factor on C for the positive examples of each label [labels]; None: 1.
    """
    diagonal = np.full((2, targets.shape[1]), 1 / (2 * C), np.float32)
    if positive_weights is not None:
        diagonal[1] /= positive_weights
    orders = [np.random.default_rng([seed, each]).permutation(features.shape[0]) for each in range(max_iter)]
    rows = _Rows(features.indptr, features.indices, features.data)
    starts = range(0, targets.shape[1], BLOCK)
    steps = progress(len(starts) * max_iter, f"fitting {targets.shape[1]} labels")
    with steps as advance, ThreadPoolExecutor(usable_cores()) as threads:
        blocks = [
            threads.submit(_fit_block, rows, features.shape[1], targets[:, part].tocsr(), diagonal[:, part], orders, advance)
            for part in (slice(at, at + BLOCK) for at in starts)
        ]
        fitted = [each.result() for each in blocks]
    return Linear(np.concatenate([each.weights for each in fitted], axis=1), np.concatenate([each.bias for each in fitted]))


def _fit_block(
    rows: _Rows,
    feature_count: int,
    targets: csr_matrix,
    diagonal: NDArray[np.float32],
    orders: list[NDArray[np.int64]],
    advance: Callable[[], object],
) -> Linear:
    examples, labels = targets.shape
    state = _State(
        np.zeros((feature_count, labels), np.float32), np.zeros(labels, np.float32), np.zeros((examples, labels), np.float32)
    )
    own_targets = _Targets(targets.indptr, targets.indices)
    squares = _squares(rows)
    diagonal = np.ascontiguousarray(diagonal)
    for order in orders:
        _epoch(order, rows, own_targets, squares, diagonal, state)
        advance()
    return Linear(state.weights, state.bias)


class _Rows(NamedTuple):
    """Features of the examples, as CSR arrays."""

    starts: NDArray[np.int32]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]


class _Targets(NamedTuple):
    """Labels of the examples, as CSR arrays."""

    starts: NDArray[np.int32]
    labels: NDArray[np.int32]


class _State(NamedTuple):
    """State of the descent: weights [features, labels], bias [labels], dual variables [examples, labels]."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    duals: NDArray[np.float32]


@compiled
def _squares(rows: _Rows) -> NDArray[np.float32]:
    """Return the squared norm of each example, including its constant 1."""
    squares = np.ones(len(rows.starts) - 1, np.float32)
    for example in range(len(squares)):
        for at in range(rows.starts[example], rows.starts[example + 1]):
            squares[example] += rows.values[at] * rows.values[at]
    return squares


@compiled
def _epoch(
    order: NDArray[np.int64],
    rows: _Rows,
    targets: _Targets,
    squares: NDArray[np.float32],
    diagonal: NDArray[np.float32],
    state: _State,
) -> None:
    """Visit every example once, in `order`. diagonal: D_ii = 1 / (2 C) of examples without and with the label."""
    labels = len(state.bias)
    sign = np.full(labels, np.float32(-1))
    own_diagonal = diagonal[0].copy()
    step = np.empty(labels, np.float32)
    for example in order:
        begin, end = rows.starts[example], rows.starts[example + 1]
        positives = targets.labels[targets.starts[example] : targets.starts[example + 1]]
        step[:] = state.bias
        for at in range(begin, end):
            row = state.weights[rows.indices[at]]
            value = rows.values[at]
            for label in range(labels):
                step[label] += value * row[label]
        for label in positives:
            sign[label], own_diagonal[label] = np.float32(1), diagonal[1, label]
        changed = _step(state.duals[example], sign, step, own_diagonal, squares[example])
        for label in positives:
            sign[label], own_diagonal[label] = np.float32(-1), diagonal[0, label]
        if changed == 0:
            continue
        for label in range(labels):
            state.bias[label] += step[label]
        for at in range(begin, end):
            row = state.weights[rows.indices[at]]
            value = rows.values[at]
            for label in range(labels):
                row[label] += value * step[label]


@compiled
def _step(
    dual: NDArray[np.float32],
    sign: NDArray[np.float32],
    step: NDArray[np.float32],
    diagonal: NDArray[np.float32],
    square: np.float32,
) -> int:
    """Minimise each label's dual objective in this example's variable, and return how many variables changed.

    Replaces the margins in `step` by the updates of the weights.
    """
    changed = 0
    for label in range(len(dual)):
        gradient = sign[label] * step[label] - np.float32(1) + diagonal[label] * dual[label]
        inverse = np.float32(1) / (square + diagonal[label])
        new = max(dual[label] - gradient * inverse, np.float32(0))
        difference = new - dual[label]
        dual[label] = new
        step[label] = sign[label] * difference
        changed += difference != np.float32(0)
    return changed
