"""Compute the scores of predictions, from arrays, so that every score has one definition. Their names are in model/scores.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score

from model.classifier import Floats
from model.scores import LabelScores, Scores

Counts = NDArray[np.float64]


def score(
    probabilities: Floats,
    assigned: NDArray[np.bool_],
    targets: csr_matrix,
    labels: Sequence[str],
    *,
    label_required: bool = True,
) -> Scores:
    """Return the scores of the assigned labels against the targets, all [texts, labels].

    Means over labels include only labels that occur in the targets. A score whose denominator is 0 is 0. If no label is
    required, a text without labels that is assigned none is correct: its F1 is 1, as with `zero_division=1.0` in
    scikit-learn.
    """
    truth = targets.toarray().astype(np.bool_)
    true_positives, predicted, support = (truth & assigned).sum(0), assigned.sum(0), truth.sum(0)
    f1 = f1_score(true_positives, predicted, support)
    occurring = support > 0
    per_text = f1_score((truth & assigned).sum(1), assigned.sum(1), truth.sum(1))
    has_none, predicted_none = truth.sum(1) == 0, assigned.sum(1) == 0
    if not label_required:
        per_text[has_none & predicted_none] = 1.0
    return Scores(
        micro_f1=micro_f1(assigned, truth),
        macro_f1=_mean(f1[occurring]),
        samples_f1=_mean(per_text),
        weighted_f1=_ratio(float((f1 * support).sum()), float(support.sum())),
        subset_accuracy=_mean((truth == assigned).all(axis=1)),
        average_precision=_average_precision(probabilities[:, occurring], truth[:, occurring]),
        texts=len(truth),
        without_label=None if label_required else _mean(has_none),
        predicted_without_label=None if label_required else _mean(predicted_none),
        per_label={
            label: LabelScores(
                precision=_ratio(true_positives[at], predicted[at]),
                recall=_ratio(true_positives[at], support[at]),
                f1=float(f1[at]),
                support=int(support[at]),
            )
            for at, label in enumerate(labels)
        },
    )


def micro_f1(assigned: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the F1 over all decisions together; both [texts, labels]."""
    return float(f1_score(np.array((assigned & truth).sum()), np.array(assigned.sum()), np.array(truth.sum())))


def f1_score(true_positives: NDArray[np.int64], predicted: NDArray[np.int64], support: NDArray[np.int64]) -> Counts:
    """Return the F1 from counts of one shape; 0 where both `predicted` and `support` are 0."""
    f1: Counts = 2 * true_positives / np.maximum(predicted + support, 1)
    return f1


def _average_precision(probabilities: Floats, truth: NDArray[np.bool_]) -> float:
    each = np.array([average_precision_score(truth[:, at], probabilities[:, at]) for at in range(truth.shape[1])])
    return _mean(np.minimum(each, 1.0))  # rounding may make a sum exceed 1


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
