"""How good predictions are. Works on arrays alone, so that every number has one definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score

from model.classifier import Floats
from model.manifest import LabelScores, Scores

Counts = NDArray[np.float64]


def score(
    probabilities: Floats,
    assigned: NDArray[np.bool_],
    targets: csr_matrix,
    labels: Sequence[str],
    *,
    label_required: bool = True,
) -> Scores:
    """Scores of the assigned labels against the targets, all [texts, labels].

    Means over labels take those that occur in the targets: a label that no text carries can be neither found nor
    missed. Where there is nothing to divide by, a score is 0. Where no label is required, a text that carries none and
    is given none is right: its F1 is 1, as by `zero_division=1.0` of scikit-learn.
    """
    truth = targets.toarray().astype(np.bool_)
    hits, given, carried = (truth & assigned).sum(0), assigned.sum(0), truth.sum(0)
    f1 = f1_score(hits, given, carried)
    occurring = carried > 0
    per_text = f1_score((truth & assigned).sum(1), assigned.sum(1), truth.sum(1))
    carry_none, given_none = truth.sum(1) == 0, assigned.sum(1) == 0
    if not label_required:
        per_text[carry_none & given_none] = 1.0
    return Scores(
        micro_f1=micro_f1(assigned, truth),
        macro_f1=_mean(f1[occurring]),
        samples_f1=_mean(per_text),
        weighted_f1=_ratio(float((f1 * carried).sum()), float(carried.sum())),
        subset_accuracy=_mean((truth == assigned).all(axis=1)),
        average_precision=_average_precision(probabilities[:, occurring], truth[:, occurring]),
        texts=len(truth),
        without_label=None if label_required else _mean(carry_none),
        predicted_without_label=None if label_required else _mean(given_none),
        per_label={
            label: LabelScores(
                precision=_ratio(hits[at], given[at]),
                recall=_ratio(hits[at], carried[at]),
                f1=float(f1[at]),
                support=int(carried[at]),
            )
            for at, label in enumerate(labels)
        },
    )


def micro_f1(assigned: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """F1 over all decisions together, both [texts, labels]."""
    return float(f1_score(np.array((assigned & truth).sum()), np.array(assigned.sum()), np.array(truth.sum())))


def f1_score(hits: NDArray[np.int64], given: NDArray[np.int64], carried: NDArray[np.int64]) -> Counts:
    """Harmonic mean of precision and recall from counts of one shape; 0 where nothing was given and nothing carried."""
    f1: Counts = 2 * hits / np.maximum(given + carried, 1)
    return f1


def _average_precision(probabilities: Floats, truth: NDArray[np.bool_]) -> float:
    each = np.array([average_precision_score(truth[:, at], probabilities[:, at]) for at in range(truth.shape[1])])
    return _mean(np.minimum(each, 1.0))  # a sum of shares of recall, whose rounding may exceed their whole


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
